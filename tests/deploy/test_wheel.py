"""The wheel, installed where nothing is cloned: it holds all that a cluster needs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.running import RunningCluster
from tests.deploy.rendering import ROOT

#: Of the packages that are installed, these files are none of theirs.
NOT_SHIPPED = (".gitignore",)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tree as it is here, without what git ignores."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "tree"
    copy.mkdir()
    for name in _tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--wheel-dir", str(folder), str(copy)]
    subprocess.run([*command, *options], check=True, cwd=folder)
    (found,) = folder.glob("realm-*.whl")
    return found


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_it_holds_every_file_of_its_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if ".dist-info/" not in name]
    wanted = [
        name
        for name in _tracked()
        if name.startswith(("realm/", "services/")) and not name.endswith(NOT_SHIPPED)
    ]
    assert sorted(names) == sorted(wanted)


@pytest.mark.slow
def test_it_runs_the_whole_cluster_in_an_environment_of_its_own(
    wheel: Path, tmp_path: Path
) -> None:
    """Libraries come from this environment, realm from the wheel."""
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    install = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install"]
    subprocess.run([*install, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # A folder that is named in a .pth file has its own such files left unread: those of a checkout.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    with RunningCluster(tmp_path / "run", realm=place / "bin" / "realm") as cluster:
        answered = cluster.client.ask("Who wrote Redis?", passages=3)
        assert answered.answers
    code = "import realm, services; print(realm.__file__, services.__path__[0])"
    done = subprocess.run(
        [place / "bin" / "python", "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert all(each.startswith(str(packages)) for each in done.stdout.split())

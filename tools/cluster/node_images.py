"""The images that nodes begin with: built by Docker, unpacked by one containerd, then linked."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tools.cluster.layout import ROOT, Layout
from tools.cluster.processes import await_true, make_groups, run, start
from tools.images import NAMES

#: What stands for an image that comes from a registry otherwise.
STANDS_FOR = {"redis": "redis", "qdrant": "qdrant-edge"}
#: Made of one program each, which needs no file besides.
PROGRAMS = ("pause", "coredns")
#: What images are made of; a change of any makes them anew.
SOURCES = (
    ".dockerignore", "constraints.txt", "deploy/docker", "deploy/k8s/components/images",
    "pyproject.toml", "realm", "services", "tests/deploy/qdrant_edge.Dockerfile",
    "tests/deploy/qdrant_edge.py", "tests/deploy/torch.Dockerfile", "tools/cluster/node_images.py",
    "tools/cluster/programs", "tools/locked.py", "tools/test_images.sh",
)  # fmt: skip
#: Debian's, as its daemon is.
DOCKER = "/usr/bin/docker"
BUILD_SECONDS = 3600
ANSWER_SECONDS = 60


def prepare(layout: Layout, say: Callable[[str], None]) -> None:
    """Leaves in `layout.images` what containerd made of every image that the overlays name.

    :raises CommandFailed: if one cannot be built.
    """
    mark, version = layout.images / "version", _version()
    if mark.exists() and mark.read_text() == version:
        return
    with _dockerd(layout) as docker:
        say("builds the images")
        environment = (f"REALM_TEST_DOCKER={DOCKER}", f"DOCKER_HOST={docker[-1]}")
        script = ("sh", ROOT / "tools" / "test_images.sh", sys.executable)
        run("env", *environment, *script, seconds=BUILD_SECONDS)
        for program in PROGRAMS:
            _from_program(docker, layout.programs / program)
        names = [f"realm-test/{program}" for program in PROGRAMS]
        for name, reference in references().items():
            run(*docker, "tag", f"realm-test/{STANDS_FOR.get(name, name)}", reference)
            names.append(reference)
        say("gives them to containerd")
        shutil.rmtree(layout.images, ignore_errors=True)
        with _containerd(layout) as ctr:
            words = " ".join([*docker, "save", *names, "|", *ctr, "images", "import", "-"])
            run("sh", "-c", words, seconds=BUILD_SECONDS)
    mark.write_text(version)


def copy_to(node: Path, layout: Layout) -> None:
    """A node's containerd begins with all images. Layers are never written: links will do."""
    target = node / "var" / "lib" / "containerd"
    target.mkdir(parents=True)
    run("cp", "--archive", "--link", f"{layout.images}/root/.", target)
    for database in target.glob("*/*.db"):
        run("cp", "--remove-destination", layout.images / "root" / database.relative_to(target),
            database)  # fmt: skip


def references() -> dict[str, str]:
    """What the overlays call each image that a cluster without GPUs and monitoring runs."""
    named = yaml.safe_load(NAMES.read_text())["images"]
    found = {each["name"].removeprefix("realm/"): each for each in named}
    wanted = ("trainer", "embedder", "indexer", "gateway", "web", *STANDS_FOR)
    return {name: f"{found[name]['newName']}:{found[name]['newTag']}" for name in wanted}


def _version() -> str:
    made = hashlib.sha256()
    for source in (ROOT / each for each in SOURCES):
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file() and file.suffix != ".pyc":
                made.update(f"{file.relative_to(ROOT)}\n".encode())
                made.update(file.read_bytes())
    return made.hexdigest()


def _from_program(docker: tuple[str, ...], program: Path) -> None:
    change = f'ENTRYPOINT ["/{program.name}"]'
    words = f"tar -C {program.parent} -c {program.name}"
    tag = f"realm-test/{program.name}"
    run("sh", "-c", f"{words} | {' '.join(docker)} import --change '{change}' - {tag}")


@contextmanager
def _dockerd(layout: Layout) -> Iterator[tuple[str, ...]]:
    """A daemon that builds and does nothing else: it leaves the machine's network as it is."""
    folder = layout.run / "docker"
    socket = f"unix://{folder / 'socket'}"
    command = (
        "dockerd", "--host", socket, "--data-root", layout.docker, "--exec-root", folder / "exec",
        "--pidfile", folder / "pid", "--bridge=none", "--iptables=false", "--ip-masq=false",
        "--ip-forward=false",
    )  # fmt: skip
    docker = (DOCKER, "--host", socket)
    with _daemon(layout, folder, command, (*docker, "info")):
        yield docker


@contextmanager
def _containerd(layout: Layout) -> Iterator[tuple[str, ...]]:
    state = layout.run / "containerd"
    address = state / "socket"
    folders = ("--root", layout.images / "root", "--state", state / "state", "--address", address)
    ctr = ("ctr", "--address", str(address), "--namespace", "k8s.io")
    with _daemon(layout, state, ("containerd", *folders), (*ctr, "version")):
        yield ctr


@contextmanager
def _daemon(
    layout: Layout, folder: Path, command: Sequence[str | Path], ask: Sequence[str]
) -> Iterator[None]:
    """Runs until the end of the block, which begins when it answers `ask`."""
    folder.mkdir(parents=True, exist_ok=True)
    make_groups("programs")
    process = start(Path(command[0]).name, command, layout.logs)
    try:
        await_true(lambda: run(*ask) is not None, f"{command[0]} answers", ANSWER_SECONDS)
        yield
    finally:
        process.terminate()
        process.wait(ANSWER_SECONDS)

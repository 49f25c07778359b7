"""constraints.txt is what `make constraints` would write, as far as no index is asked."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.rendering import ROOT
from tools.lock import FILE, direct_needs, needs
from tools.locked import entries, locked

TEXT = FILE.read_text(encoding="utf-8")
PINNED = {
    canonicalize_name(lines[0].partition("==")[0]): (lines, extras)
    for lines, extras in entries(TEXT)
}
#: Reading what all installed packages need takes seconds.
NEEDS = cache(needs)
#: The extras that images install.
IMAGES = ("trainer", "embedder", "indexer", "gateway", "web")


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms need a few others")
def test_the_lock_is_of_what_the_project_needs_today() -> None:
    installed = {canonicalize_name(each.metadata["Name"]) for each in distributions()}
    for extra, names in NEEDS().items():
        # What is not installed does not tell what it needs: of chaos, where nobody asked for it.
        if not {canonicalize_name(each.name) for each in direct_needs()[extra]} <= installed:
            assert extra != "dev"
            continue
        found = {name for name, (_, extras) in PINNED.items() if extra in extras}
        assert found == names, f"constraints.txt is stale for {extra!r}: run `make constraints`"


def test_the_pinned_versions_are_those_that_the_project_asks_for() -> None:
    for extra, requirements in direct_needs().items():
        for requirement in requirements:
            lines, _ = PINNED[canonicalize_name(requirement.name)]
            version = lines[0].removesuffix(" \\").partition("==")[2]
            assert requirement.specifier.contains(version), f"{extra}: {requirement} has {version}"


def test_every_pin_has_its_hashes() -> None:
    for lines, _ in PINNED.values():
        assert Requirement(lines[0].removesuffix(" \\")).specifier
        assert lines[1:]
        assert all(
            re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", each) for each in lines[1:]
        )


@pytest.mark.parametrize("extra", IMAGES)
def test_an_extra_s_share_is_whole_hashed_and_without_torch(extra: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / "locked.py"), str(FILE), "build", extra]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.partition("==")[0] for line in shown if not line.startswith(" ")}
    assert "setuptools" in names
    assert {*NEEDS()[extra], "setuptools"} - {"torch"} == {canonicalize_name(n) for n in names}
    assert all(line.endswith(" \\") for line in shown if not line.startswith(" "))
    assert ("transformers" in names) is (extra not in ("indexer", "web"))


def test_versions_alone_are_constraints() -> None:
    versions = list(locked(TEXT, []))
    assert len(versions) == len(PINNED)
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+", each) for each in versions)


def test_a_file_without_extras_installs_nothing_unseen(tmp_path: Path) -> None:
    plain = tmp_path / "constraints.txt"
    plain.write_text("grpcio==1.80.0\n")
    command = [sys.executable, str(ROOT / "tools" / "locked.py"), str(plain), "gateway"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pins nothing for gateway" in done.stderr

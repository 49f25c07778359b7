"""Writes constraints.txt: each version that is installed here, the hashes of its files, and which
of realm's extras need it. `make constraints` runs it where everything has just been installed.

The hashes are those of the package index, for every platform, as uv finds them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.locked import NEEDED, locked

ROOT = Path(__file__).parents[1]
FILE = ROOT / "constraints.txt"
HEADER = """\
# Made by `make constraints`: every version pinned, with the hashes of its files, and the extras of
# realm that need it (`tools/locked.py` picks theirs). What CUDA needs of torch is not among them.
"""
#: The Pythons for which markers hold: Debian's is older than some libraries' own of the same year.
PYTHONS = tuple(
    {"python_version": "3.11", "python_full_version": version} for version in ("3.11.0", "3.11.99")
)
#: What only PyTorch's builds for CUDA need, and bring.
OF_TORCH = ("nvidia-", "cuda-", "triton")


def direct_needs() -> dict[str, list[Requirement]]:
    """What each extra asks for by itself; `client` is realm without one, `build` what builds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    direct: Mapping[str, list[str]] = {
        "client": project["project"]["dependencies"],
        "build": project["build-system"]["requires"],
        **project["project"]["optional-dependencies"],
    }

    def named(requirements: list[str]) -> Iterator[Requirement]:
        for each in map(Requirement, requirements):
            if each.name == "realm":
                for extra in each.extras:
                    yield from named(direct[extra])
            else:
                yield each

    return {extra: list(named(requirements)) for extra, requirements in direct.items()}


def needs() -> dict[str, set[str]]:
    """The names that each extra needs, itself or through others."""
    direct = direct_needs()
    return {
        extra: _closure(own if extra == "build" else [*direct["client"], *own])
        for extra, own in direct.items()
    }


def _closure(requirements: list[Requirement]) -> set[str]:
    """The names of requirements and of all that they require."""
    seen: set[tuple[str, str]] = set()
    left = [(each, "") for each in requirements]
    while left:
        requirement, wanted = left.pop()
        if not _applies(requirement, wanted):
            continue
        name = canonicalize_name(requirement.name)
        if name.startswith(OF_TORCH):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                left += [(each, extra) for each in _requirements(name)]
    return {name for name, _ in seen}


def _applies(requirement: Requirement, extra: str) -> bool:
    if (marker := requirement.marker) is None:
        return True
    return any(marker.evaluate({"extra": extra, **python}) for python in PYTHONS)


def _requirements(name: str) -> list[Requirement]:
    """Of what is installed; what only other Pythons need is not."""
    try:
        return [Requirement(each) for each in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []


def versions(names: set[str]) -> dict[str, str]:
    """Of each name: the installed version, else the one that is pinned already.

    :raises SystemExit: if there is neither.
    """
    pinned = dict(line.split("==") for line in locked(FILE.read_text(encoding="utf-8"), []))
    found: dict[str, str] = {canonicalize_name(name): version for name, version in pinned.items()}
    for name in names:
        try:
            # A local version (+cpu) is one machine's build of the same release.
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            if name not in found:
                raise SystemExit(f"{name} is neither installed nor pinned: install it") from None
    return {name: found[name] for name in sorted(names)}


def hashes(pins: Mapping[str, str]) -> dict[str, list[str]]:
    """The lines of each pin with the hashes of all its files."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "pins.txt"
        given.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        options = ("--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--quiet")
        done = subprocess.run(
            [sys.executable, "-m", "uv", "pip", "compile", str(given), *options],
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if not line.startswith(" "):
            lines = found[canonicalize_name(line.partition("==")[0])] = []
        lines.append(line)
    return found


def main() -> None:
    needed = needs()
    found = hashes(versions(set().union(*needed.values())))
    blocks = []
    for name, lines in found.items():
        extras = sorted(extra for extra, names in needed.items() if name in names)
        blocks.append("\n".join([*lines, NEEDED + " ".join(extras)]))
    FILE.write_text(HEADER + "\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

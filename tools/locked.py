"""What constraints.txt pins for extras of realm, with hashes: for pip's `--require-hashes`.

    python tools/locked.py constraints.txt build gateway
    python tools/locked.py constraints.txt          # every version, without hashes

Needs the standard library alone: images and the Makefile run it before anything is installed.
PyTorch is left out: whose index it comes from, and so which build, is the installer's choice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

NEEDED = "    # for "


def entries(text: str) -> Iterator[tuple[list[str], set[str]]]:
    """Each pin's lines (`name==version`, then its hashes) and the extras that need it."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(NEEDED):
            yield lines, set(line[len(NEEDED) :].split())
            lines = []
        elif line and not line.startswith("#"):
            lines.append(line)


def locked(text: str, extras: Iterable[str]) -> Iterator[str]:
    """The requirements of the extras; of all of them, without hashes, if none is named."""
    for lines, needed in entries(text):
        if not extras:
            yield lines[0].removesuffix(" \\")
        elif needed & set(extras) and not lines[0].startswith("torch=="):
            yield from lines


if __name__ == "__main__":
    file, *names = sys.argv[1:]
    text = Path(file).read_text()
    if unknown := set(names).difference(*(extras for _, extras in entries(text))):
        sys.exit(f"{file} pins nothing for {', '.join(sorted(unknown))}: run `make constraints`")
    sys.stdout.writelines(f"{line}\n" for line in locked(text, names))

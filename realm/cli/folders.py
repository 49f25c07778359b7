"""New folders that a command writes: checked before the work, there whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from realm.errors import InvalidInput


def check_new(folder: Path) -> None:
    """:raises InvalidInput: if something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is there already: name a new folder, or empty it first")


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """The folder appears with all its files or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".realm-") as beside:
        made = Path(beside) / "made"
        write(made)
        made.replace(folder)

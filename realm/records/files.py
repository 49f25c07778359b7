"""What a store keeps its files in: a folder (`folder.py`) or a bucket (`bucket.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the store: `size` in bytes, `modified` in Unix time."""

    path: str
    size: int
    modified: float


class Files(Protocol):
    """Whole files, put atomically, durable on return. Paths are relative, with forward slashes.

    Each raises FileNotFoundError, FileExistsError, or another OSError if it cannot be done.
    """

    def read(self, path: str) -> bytes: ...

    def open(self, path: str) -> IO[bytes]:
        """To read parts of it."""

    def write(self, path: str, data: bytes) -> None:
        """Replaces what was there."""

    def create(self, path: str, data: bytes) -> None:
        """The conditional put: FileExistsError if there is one; NotImplementedError if such a
        store has none."""

    def exists(self, path: str) -> bool: ...

    def entries(self, prefix: str) -> Iterable[Entry]:
        """All files below a folder, in any order."""

    def files(self, prefix: str) -> Iterable[str]:
        """Their paths."""

    def folders(self, prefix: str) -> Iterable[str]:
        """Names of the folders directly below a folder."""

    def delete(self, paths: Iterable[str]) -> None:
        """Those that are not there are no error."""

    def remove_empty(self, folder: str) -> None:
        """Removes a folder, those below it and those above it, as long as they are empty."""

"""What a store keeps its files in, and the folder that does so, on one machine or a shared volume;
`bucket.py` is the other. What a call put is durable on return.

A file is written under another name, synced, and only then gets its own, so that nobody ever
meets half of it, not after a power cut either; the folder that holds it is synced last.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

#: Where files are while they are written, below the store.
PARTIAL = ".partial"
#: Between making a folder and putting a file into it somebody may tidy it away.
ATTEMPTS = 5


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


class Folder:
    """Raises what the system raises: FileNotFoundError, FileExistsError, another OSError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        #: Folders whose own entry is known to be on disk.
        self._durable: set[Path] = set()
        self._make(root)

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error

    def open(self, path: str) -> IO[bytes]:
        return (self._root / path).open("rb")

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data, replace=True)

    def create(self, path: str, data: bytes) -> None:
        self._put(path, data, replace=False)

    def exists(self, path: str) -> bool:
        return (self._root / path).is_file()

    def entries(self, prefix: str) -> Iterator[Entry]:
        for found in self._walk(self._root / prefix):
            with suppress(FileNotFoundError):
                state = found.stat()
                path = Path(found.path).relative_to(self._root).as_posix()
                yield Entry(path, state.st_size, state.st_mtime)

    def files(self, prefix: str) -> list[str]:
        cut = len(f"{self._root}/")
        return [found.path[cut:] for found in self._walk(self._root / prefix)]

    def folders(self, prefix: str) -> list[str]:
        return [each.name for each in _scan(self._root / prefix) if each.is_dir()]

    def delete(self, paths: Iterable[str]) -> None:
        """Those that are not there are no error."""
        touched = set()
        for path in paths:
            target = self._root / path
            with suppress(FileNotFoundError, NotADirectoryError):
                target.unlink()
                touched.add(target.parent)
        for folder in touched:
            with suppress(FileNotFoundError):
                _sync(folder)

    def remove_empty(self, folder: str) -> None:
        """Removes a folder, those below it and those above it, as long as they are empty."""
        top = self._root / folder
        for below in sorted((Path(each) for each, _, _ in os.walk(top)), reverse=True)[:-1]:
            self._remove(below)
        while top != self._root and top.is_relative_to(self._root) and self._remove(top):
            top = top.parent

    def _put(self, path: str, data: bytes, *, replace: bool) -> None:
        target = self._root / path
        partial = self._root / PARTIAL / uuid.uuid4().hex
        try:
            for attempt in range(ATTEMPTS):
                try:
                    self._write_synced(partial, data)
                    self._name(partial, target, replace=replace)
                except FileNotFoundError:
                    self._durable.clear()
                    if attempt == ATTEMPTS - 1:
                        raise
                else:
                    return
        finally:
            with suppress(OSError):
                partial.unlink()

    def _write_synced(self, partial: Path, data: bytes) -> None:
        self._make(partial.parent)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def _name(self, partial: Path, target: Path, *, replace: bool) -> None:
        self._make(target.parent)
        if replace:
            partial.replace(target)
        else:
            _link(partial, target)
        _sync(target.parent)

    def _make(self, folder: Path) -> None:
        """A folder that another process made may not be on disk yet: it is synced once here."""
        if folder in self._durable:
            return
        if folder != self._root:
            self._make(folder.parent)
        elif not folder.parent.is_dir():
            self._make_above(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(folder))
        with suppress(PermissionError):  # of a folder above the store, which was there before
            _sync(folder.parent)
        self._durable.add(folder)

    def _make_above(self, folder: Path) -> None:
        if not folder.parent.is_dir():
            self._make_above(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync(folder.parent)

    def _remove(self, folder: Path) -> bool:
        try:
            folder.rmdir()
        except OSError:
            # Somebody put a file there in the meantime: it stays, and so does the folder.
            return False
        self._durable.discard(folder)
        return True

    def _walk(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        for found in _scan(folder):
            if found.is_dir():
                yield from self._walk(Path(found.path))
            elif found.is_file():
                yield found


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder. Hidden files are nobody's: an NFS server's, an editor's, our own that
    are not whole yet."""
    try:
        with os.scandir(folder) as found:
            return [each for each in found if not each.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _link(partial: Path, target: Path) -> None:
    try:
        target.hardlink_to(partial)
    except FileExistsError:
        # An NFS server's answer may have been lost, and the link be ours.
        if partial.stat().st_nlink != 2:
            raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some volumes know no such thing
            raise
    finally:
        os.close(handle)

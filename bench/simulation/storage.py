"""The simulated store: files in memory, reached by each process through the network."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TypeVar

from bench.simulation.network import Network, Service
from realm.records.folder import Entry
from realm.records.store import Store

T = TypeVar("T")
URL = "simulated://store"
#: Of a path: what a trap is set for.
KINDS = [
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"live/", "commit"),
        (r"generations/\d+/manifest", "manifest"),
        (r"generations/\d+/events/", "event"),
        (r"generations/\d+/applied/", "applied"),
        (r"generations/\d+/(?:deltas|pieces)/", "delta"),
        (r"control/leader/\d+\.json", "claim"),
        (r"control/leader/", "beat"),
        (r"control/", "control"),
        (r"corpus/_delta_log/", "corpus commit"),
        (r"corpus/", "corpus data"),
        (r"passages/", "passages"),
        (r"vectors/", "vectors"),
        (r"", "other"),
    )
]


def kind_of(path: str) -> str:
    return next(kind for pattern, kind in KINDS if pattern.match(path))


class Disk:
    """What the store holds: files of one folder, and what watches its changes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        #: Paths below each folder, in the order in which they came.
        self._below: dict[str, dict[str, None]] = {"": {}}
        #: Names of the folders that ever were directly in each folder.
        self._inside: dict[str, set[str]] = {}
        #: Called with "create", "write" or "delete" and the path, at each change.
        self.on_change: Callable[[str, str], None] = lambda verb, path: None
        #: Called with the path of a conditional put that met a file.
        self.on_refusal: Callable[[str], None] = lambda path: None

    def copy(self) -> Disk:
        disk = Disk()
        disk.files = dict(self.files)
        disk._below = {folder: dict(paths) for folder, paths in self._below.items()}
        disk._inside = {folder: set(names) for folder, names in self._inside.items()}
        return disk

    def create(self, path: str, data: bytes) -> None:
        if path in self.files:
            self.on_refusal(path)
            raise FileExistsError(path)
        self._put(path, data)
        self.on_change("create", path)

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data)
        self.on_change("write", path)

    def delete(self, path: str) -> None:
        if path in self.files:
            del self.files[path]
            for folder in _above(path):
                del self._below[folder][path]
            self.on_change("delete", path)

    def below(self, prefix: str) -> list[str]:
        return list(self._below.get(prefix, ()))

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly in a folder that hold a file."""
        start = f"{prefix}/" if prefix else ""
        return [name for name in self._inside.get(prefix, ()) if self._below[f"{start}{name}"]]

    def _put(self, path: str, data: bytes) -> None:
        if path not in self.files:
            for folder in _above(path):
                if folder not in self._below:
                    self._below[folder] = {}
                    parent, _, name = folder.rpartition("/")
                    self._inside.setdefault(parent, set()).add(name)
                self._below[folder][path] = None
        self.files[path] = data


def _above(path: str) -> list[str]:
    """The folders that a file is in, the store's own (empty) first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


class Connection:
    """`Files` of a process."""

    def __init__(self, disk: Disk, network: Network) -> None:
        self._disk = disk
        self._network = network

    def read(self, path: str) -> bytes:
        return self._asked("read", path, lambda: self._read(path))

    def open(self, path: str) -> IO[bytes]:
        return io.BytesIO(self.read(path))

    def write(self, path: str, data: bytes) -> None:
        self._changed(path, lambda: self._disk.write(path, data))

    def create(self, path: str, data: bytes) -> None:
        self._changed(path, lambda: self._disk.create(path, data))

    def exists(self, path: str) -> bool:
        return self._asked("exists", path, lambda: path in self._disk.files)

    def entries(self, prefix: str) -> Iterable[Entry]:
        files = self._disk.files
        return self._asked(
            "list", prefix, lambda: [Entry(e, len(files[e]), 0.0) for e in self._disk.below(prefix)]
        )

    def files(self, prefix: str) -> Iterable[str]:
        return self._asked("list", prefix, lambda: self._disk.below(prefix))

    def folders(self, prefix: str) -> Iterable[str]:
        return self._asked("list", prefix, lambda: self._disk.folders(prefix))

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._network.call(
                Service.STORE, "delete", path, lambda path=path: self._disk.delete(path),  # type: ignore[misc]
                changes=True,
            )  # fmt: skip

    def remove_empty(self, folder: str) -> None:
        """It has none."""

    def _read(self, path: str) -> bytes:
        try:
            return self._disk.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _asked(self, kind: str, path: str, effect: Callable[[], T]) -> T:
        return self._network.call(Service.STORE, kind, path, effect)

    def _changed(self, path: str, effect: Callable[[], None]) -> None:
        self._network.call(
            Service.STORE,
            kind_of(path) if self._network.traps else "put",
            path,
            effect,
            changes=True,
            again=lambda: FileExistsError(path),
        )


def open_store(disk: Disk, network: Network) -> Store:
    return Store(URL, Connection(disk, network), None, Path("/nowhere"))

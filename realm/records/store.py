"""The store: everything durable, under one URL, with conditional puts.

A folder on one machine or a shared volume (`file://…` or a plain path, taken as it is written:
nothing in a name means anything) or a bucket (`s3://…`). Paths inside it are relative, with
forward slashes. What is put is durable when the call returns.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

import structlog

from realm.errors import (
    BadSettings,
    Conflict,
    Corrupt,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
)
from realm.records import json_records
from realm.records.folder import Entry, Files, Folder

T = TypeVar("T")
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
#: Copies of remote files that nobody asked for this long go.
COPY_SECONDS = 86_400.0
#: What no part of a path may be.
NO_NAMES = frozenset({"", ".", ".."})

log = structlog.get_logger(__name__)


class Store:
    """Whole files, put atomically. Thread-safe.

    >>> store = Store.open("/tmp/somewhere")
    >>> store.create("live/00000001.json", b"{}")
    >>> store.create("live/00000001.json", b"{}")  # raises Conflict
    """

    def __init__(self, url: str, files: Files, root: Path | None, cache: Path) -> None:
        self.url = url
        self.root = root
        self._files = files
        self._cache = cache
        self._before_change: Callable[[], None] = _nothing

    def guarded(self, before_change: Callable[[], None]) -> Store:
        """The same store; `before_change` is called before each change, and may refuse."""
        store = Store(self.url, self._files, self.root, self._cache)
        store._before_change = before_change
        return store

    @classmethod
    def open(cls, url: str, cache: str = "") -> Store:
        """Opens a store, making the folder if need be, and proves that conditional puts hold.

        :raises BadSettings: if the URL is unusable, the store refuses us, or it has no
            conditional put.
        :raises DependencyUnavailable: if a remote store does not answer; try again.
        """
        root = local_root(url)
        copies = Path(cache) if cache else Path(tempfile.gettempdir()) / f"realm-{os.getuid()}"
        try:
            if root is not None:
                store = cls(f"file://{root}", Folder(root), root, copies)
            else:
                from realm.records.bucket import Bucket  # what a folder does not need

                store = cls(url.rstrip("/"), Bucket.at(url.rstrip("/")), None, copies)
        except (OSError, ValueError) as error:
            raise BadSettings(f"the store {url} cannot be opened: {error}") from error
        store._prove_conditional_put()
        return store

    @classmethod
    def await_open(cls, url: str, cache: str = "", pause: float = FIRST_PAUSE_SECONDS) -> Store:
        """As `open`, but waits for a remote store that does not answer, and says so.

        :raises BadSettings: as `open` does.
        """
        while True:
            try:
                return cls.open(url, cache)
            except DependencyUnavailable as error:
                log.warning("store_unavailable", why=error.message, again_in_seconds=pause)
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def read(self, path: str) -> bytes:
        """:raises NotFound: if there is no such file."""
        with self._translated("read", path):
            return self._files.read(_inside(path))

    def open_file(self, path: str) -> IO[bytes]:
        """To read parts of a file. :raises NotFound: if there is none."""
        with self._translated("read", path):
            return self._files.open(_inside(path))

    def write(self, path: str, data: bytes) -> None:
        """Puts a whole file, replacing what was there."""
        self._before_change()
        with self._translated("written", path):
            self._files.write(_inside(path), data)

    def create(self, path: str, data: bytes) -> None:
        """Puts a whole file unless one exists: the conditional put.

        :raises Conflict: if the file exists already.
        """
        self._before_change()
        with self._translated("written", path):
            self._files.create(_inside(path), data)

    def read_json(self, path: str) -> Any:
        """:raises Corrupt: if the file is not JSON, or not what was written."""
        return json_records.from_bytes(self.read(path), path)

    def read_record(self, path: str, kind: type[T]) -> T:
        """A dataclass as it was written. :raises Corrupt: if it is damaged, or none such."""
        return json_records.as_record(kind, self.read_json(path), path)

    def write_json(self, path: str, value: Any) -> None:
        self.write(path, json_records.to_bytes(value))

    def create_json(self, path: str, value: Any) -> None:
        """:raises Conflict: if the file exists already."""
        self.create(path, json_records.to_bytes(value))

    def exists(self, path: str) -> bool:
        with self._translated("looked up", path):
            return self._files.exists(_inside(path))

    def files(self, prefix: str) -> list[str]:
        """Paths of all files below a folder, sorted; hidden ones are left out, here as in
        `entries` and `folders`."""
        with self._translated("listed", prefix):
            return sorted(self._files.files(_folder(prefix)))

    def entries(self, prefix: str) -> list[Entry]:
        """All files below a folder with their sizes, sorted by path."""
        with self._translated("listed", prefix):
            return sorted(self._files.entries(_folder(prefix)), key=lambda entry: entry.path)

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        with self._translated("listed", prefix):
            return sorted(self._files.folders(_folder(prefix)))

    def delete(self, *paths: str) -> None:
        """Deletes files; one that is not there is no error."""
        self.delete_all(paths)

    def delete_all(self, paths: Iterable[str]) -> None:
        """As `delete`; the folders of many are synced once."""

        def allowed() -> Iterator[str]:
            for path in paths:
                self._before_change()
                yield _inside(path)

        with self._translated("deleted", "a file"):
            self._files.delete(allowed())

    def prune_empty_parents(self, folder: str) -> None:
        """Removes a folder, and those below and above it, as long as they are empty; a bucket
        has none."""
        self._files.remove_empty(_folder(folder))

    def delete_folder(self, prefix: str) -> None:
        self.delete_all(self.files(prefix))
        self.prune_empty_parents(prefix)

    def local(self, path: str, sha256: str) -> Path:
        """A local copy of a file, its checksum verified: in place where the store is a folder.

        :raises Corrupt: if the checksum differs.
        """
        path = _inside(path)
        if self.root is not None:
            target = self.root / path
            self.verify(path, sha256)
        else:
            target = self._cache / sha256[:2] / sha256
            if not target.exists() or file_sha256(target) != sha256:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._delete_old_copies()
                partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
                partial.write_bytes(self.read(path))
                partial.rename(target)
            target.touch()
            self._compare(path, file_sha256(target), sha256)
        return target

    def verify(self, path: str, sha256: str) -> None:
        """:raises Corrupt: if a file has another checksum.
        :raises NotFound: if there is no such file.
        """
        root = self.root
        if root is None:
            found = hashlib.sha256(self.read(path)).hexdigest()
        else:
            found = file_sha256(root / _inside(path))
        self._compare(path, found, sha256)

    def _compare(self, path: str, found: str, expected: str) -> None:
        if found != expected:
            raise Corrupt(
                f"{path} in the store has checksum {found[:12]}…, not {expected[:12]}…",
                file=path,
            )

    def _translated(self, action: str, path: str) -> _Translated:
        """Turns the system's errors into ours."""
        return _Translated(self.url, action, path)

    def _prove_conditional_put(self) -> None:
        path = f"probe-{uuid.uuid4().hex}"
        try:
            self.create(path, b"one")
            self.create(path, b"another")
            raise self._without_conditional_put()
        except Conflict:
            return
        except NotImplementedError as error:
            raise self._without_conditional_put() from error
        except DependencyUnavailable as error:
            if self.root is None and not getattr(error.__cause__, "refused", False):
                raise
            raise BadSettings(f"the store {self.url} cannot be used: {error}") from error
        finally:
            with suppress(DependencyUnavailable):  # what is wrong was said already
                self.delete(path)

    def _without_conditional_put(self) -> BadSettings:
        return BadSettings(
            f"the store {self.url} has no conditional put: two leaders could both commit;"
            " use a folder or an S3 that honours If-None-Match"
        )

    def _delete_old_copies(self) -> None:
        """Of remote files: those that no process asked for lately."""
        oldest = time.time() - COPY_SECONDS
        for copy in self._cache.glob("??/*"):
            with suppress(OSError):  # another process was quicker
                if copy.stat().st_mtime < oldest:
                    copy.unlink()


class _Translated:
    """A context manager: no generator, since every call of a store is in one."""

    __slots__ = ("_action", "_path", "_url")

    def __init__(self, url: str, action: str, path: str) -> None:
        self._url, self._action, self._path = url, action, path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        path = self._path
        if isinstance(error, FileExistsError):
            raise Conflict(f"{path} exists already in the store", file=path) from error
        if self._action == "read" and isinstance(error, FileNotFoundError):
            raise NotFound(f"{path} is not in the store", file=path) from error
        why = f"{path} in {self._url} cannot be {self._action}: {error}"
        raise DependencyUnavailable(why, file=path) from error


def local_root(url: str) -> Path | None:
    """The folder that a store's URL names, whether it is there or not; None: it is elsewhere."""
    if "://" not in url:
        return Path(url).expanduser().resolve()
    return Path(url.removeprefix("file://")).resolve() if url.startswith("file://") else None


@lru_cache(4096)
def _inside(path: str) -> str:
    """:raises InvalidInput: if a path would leave the store, or mean another one."""
    parts = path.split("/")
    if "\0" in path or not NO_NAMES.isdisjoint(parts):
        raise InvalidInput(f"{path!r} is no path inside a store")
    return path


def _folder(prefix: str) -> str:
    return _inside(prefix.rstrip("/")) if prefix else prefix


def _nothing() -> None:
    return


def file_sha256(path: Path) -> str:
    """:raises NotFound: if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", file=path) from error

"""The store: everything durable, under one URL, with conditional puts.

A folder on one machine or a shared volume (`file://…` or a plain path) or a bucket (`s3://…`, its
credentials and endpoint from the usual `AWS_*` variables). Paths inside it are relative, with
forward slashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import structlog
from obstore.exceptions import (
    AlreadyExistsError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.exceptions import NotFoundError as ObjectNotFound
from obstore.store import LocalStore, ObjectStore, from_url

from realm.errors import BadSettings, Conflict, Corrupt, DependencyUnavailable, NotFound

#: Waiting longer for a remote store would not mend it: whoever asked tries again.
RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
TIMEOUTS: Any = {"connect_timeout": "5s", "timeout": "60s"}
#: What a remote store says to wrong credentials or a wrong name: waiting does not mend it.
REFUSALS = (PermissionDeniedError, UnauthenticatedError, ObjectNotFound)
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
#: Copies of remote files that nobody asked for this long go.
COPY_SECONDS = 86_400.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the store: `size` in bytes, `modified` in Unix time."""

    path: str
    size: int
    modified: float


class Store:
    """Whole files, put atomically. Thread-safe.

    >>> store = Store.open("/tmp/somewhere")
    >>> store.create("live/00000001.json", b"{}")
    >>> store.create("live/00000001.json", b"{}")  # raises Conflict
    """

    def __init__(self, url: str, objects: ObjectStore, root: Path | None, cache: Path) -> None:
        self.url = url
        self.root = root
        self._objects = objects
        self._cache = cache
        self._before_change: Callable[[], None] = _nothing

    def guarded(self, before_change: Callable[[], None]) -> Store:
        """The same store; `before_change` is called before each change, and may refuse."""
        store = Store(self.url, self._objects, self.root, self._cache)
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
                root.mkdir(parents=True, exist_ok=True)
                store = cls(f"file://{root}", LocalStore(prefix=root), root, copies)
            else:
                url = url.rstrip("/")
                objects = from_url(url, retry_config=RETRIES, client_options=_client(url))
                store = cls(url, objects, None, copies)
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
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
        try:
            return bytes(obstore.get(self._objects, path).bytes())
        except (ObjectNotFound, FileNotFoundError) as error:
            raise NotFound(f"{path} is not in the store {self.url}", file=path) from error
        except obstore.exceptions.BaseError as error:
            raise self._unavailable("read", path, error) from error

    def write(self, path: str, data: bytes) -> None:
        """Puts a whole file, replacing what was there."""
        self._before_change()
        try:
            obstore.put(self._objects, path, data)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("written", path, error) from error

    def create(self, path: str, data: bytes) -> None:
        """Puts a whole file unless one exists: the conditional put.

        :raises Conflict: if the file exists already.
        """
        self._before_change()
        try:
            obstore.put(self._objects, path, data, mode="create", use_multipart=False)
        except (AlreadyExistsError, FileExistsError) as error:
            raise Conflict(f"{path} exists already in {self.url}", file=path) from error
        except NotSupportedError:
            raise
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("written", path, error) from error

    def read_json(self, path: str) -> Any:
        """:raises Corrupt: if the file is not JSON."""
        data = self.read(path)
        try:
            return json.loads(data)
        except ValueError as error:
            raise Corrupt(f"{path} in {self.url} is not JSON: {error}", file=path) from error

    def write_json(self, path: str, value: Any) -> None:
        self.write(path, _json_bytes(value))

    def create_json(self, path: str, value: Any) -> None:
        """:raises Conflict: if the file exists already."""
        self.create(path, _json_bytes(value))

    def exists(self, path: str) -> bool:
        try:
            obstore.head(self._objects, path)
        except (ObjectNotFound, FileNotFoundError):
            return False
        except obstore.exceptions.BaseError as error:
            raise self._unavailable("looked up", path, error) from error
        return True

    def files(self, prefix: str) -> list[str]:
        """Paths of all files below a folder, sorted."""
        try:
            pages = obstore.list(self._objects, prefix=prefix)
            return sorted(item["path"] for page in pages for item in page)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("listed", prefix, error) from error

    def entries(self, prefix: str) -> list[Entry]:
        """All files below a folder with their sizes, sorted by path."""
        try:
            found = [item for page in obstore.list(self._objects, prefix=prefix) for item in page]
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("listed", prefix, error) from error
        entries = [
            Entry(each["path"], each["size"], each["last_modified"].timestamp()) for each in found
        ]
        return sorted(entries, key=lambda entry: entry.path)

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        try:
            found = obstore.list_with_delimiter(self._objects, prefix=prefix)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("listed", prefix, error) from error
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def delete(self, path: str) -> None:
        """Deletes a file; one that is not there is no error."""
        self._before_change()
        try:
            obstore.delete(self._objects, path)
        except (ObjectNotFound, FileNotFoundError):
            pass
        except obstore.exceptions.BaseError as error:
            raise self._unavailable("deleted", path, error) from error

    def leave_no_empty(self, folder: str) -> None:
        """Removes a folder, and those above it, as long as they are empty; a bucket has none."""
        if self.root is None:
            return
        below = self.root / folder
        while below != self.root and below.is_relative_to(self.root):
            try:
                below.rmdir()
            except OSError:
                return
            below = below.parent

    def delete_folder(self, prefix: str) -> None:
        for path in self.files(prefix):
            self.delete(path)
        if self.root is not None:
            _remove_empty_folders(self.root / prefix)

    def local(self, path: str, sha256: str) -> Path:
        """A local copy of a file, its checksum verified: in place where the store is a folder.

        :raises Corrupt: if the checksum differs.
        """
        if self.root is not None:
            target = self.root / path
            found = file_sha256(target)
        else:
            target = self._cache / sha256[:2] / sha256
            if not target.exists() or file_sha256(target) != sha256:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._forget_copies()
                partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
                partial.write_bytes(self.read(path))
                partial.rename(target)
            target.touch()
            found = file_sha256(target)
        if found != sha256:
            raise Corrupt(
                f"{path} in {self.url} has checksum {found[:12]}…, not {sha256[:12]}…",
                file=path,
            )
        return target

    def _unavailable(self, action: str, path: str, error: Exception) -> DependencyUnavailable:
        why = str(error).partition("\n\nDebug source")[0]
        return DependencyUnavailable(f"{path} in {self.url} cannot be {action}: {why}", file=path)

    def _prove_conditional_put(self) -> None:
        path = f"probe-{uuid.uuid4().hex}"
        try:
            # Already the first finds the file where its own answer was lost and it was sent again.
            self.create(path, b"")
            self.create(path, b"")
            raise self._without_conditional_put()
        except Conflict:
            return
        except (NotSupportedError, NotImplementedError) as error:
            raise self._without_conditional_put() from error
        except DependencyUnavailable as error:
            refused = isinstance(error.__cause__, REFUSALS) or "NoSuchBucket" in str(
                error.__cause__
            )
            if self.root is None and not refused:
                raise
            raise BadSettings(f"the store {self.url} cannot be used: {error}") from error
        finally:
            self._leave_no(path)

    def _without_conditional_put(self) -> BadSettings:
        return BadSettings(
            f"the store {self.url} has no conditional put: two leaders could both commit;"
            " use a folder or an S3 that honours If-None-Match"
        )

    def _leave_no(self, path: str) -> None:
        try:
            self.delete(path)
        except DependencyUnavailable:
            return  # what is wrong with the store was said already

    def _forget_copies(self) -> None:
        """Of remote files: those that no process asked for lately."""
        oldest = time.time() - COPY_SECONDS
        for copy in self._cache.glob("??/*"):
            try:
                if copy.stat().st_mtime < oldest:
                    copy.unlink()
            except OSError:
                continue  # another process was quicker


def local_root(url: str) -> Path | None:
    """The folder that a store's URL names, whether it is there or not; None: it is elsewhere."""
    if "://" not in url:
        return Path(url).expanduser().resolve()
    return Path(url.removeprefix("file://")).resolve() if url.startswith("file://") else None


def _nothing() -> None:
    return


def file_sha256(path: Path) -> str:
    """:raises NotFound: if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", file=path) from error


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _client(url: str) -> Any:
    """Plain HTTP only to an endpoint that says so, as a test's or a cluster's own."""
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return {**TIMEOUTS, "allow_http": True} if plain and url.startswith("s3://") else TIMEOUTS


def _remove_empty_folders(folder: Path) -> None:
    for below in sorted(folder.rglob("*"), reverse=True):
        if below.is_dir():
            _remove_if_empty(below)
    if folder.is_dir():
        _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Somebody put a file there in the meantime: it stays, and so does the folder.
        return

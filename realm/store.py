"""The store: everything durable, under one URL, with conditional puts.

A folder on one machine or a shared volume (`file://…` or a plain path) or a bucket (`s3://…`).
Paths inside it are relative, with forward slashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError
from obstore.exceptions import NotFoundError as ObjectNotFound
from obstore.store import LocalStore, ObjectStore, from_url

from realm.errors import BadSettings, Conflict, Corrupt, DependencyUnavailable, NotFound


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

    @classmethod
    def open(cls, url: str, cache: str = "") -> Store:
        """Opens a store, making the folder if need be, and proves that conditional puts hold.

        :raises BadSettings: if the URL is unusable or the store has no conditional put.
        """
        root = _local_root(url)
        copies = Path(cache) if cache else Path(tempfile.gettempdir()) / f"realm-{os.getuid()}"
        try:
            if root is not None:
                root.mkdir(parents=True, exist_ok=True)
                store = cls(f"file://{root}", LocalStore(prefix=root), root, copies)
            else:
                store = cls(url, from_url(url), None, copies)
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
            raise BadSettings(f"the store {url} cannot be opened: {error}") from error
        store._prove_conditional_put()
        return store

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
        try:
            obstore.put(self._objects, path, data)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("written", path, error) from error

    def create(self, path: str, data: bytes) -> None:
        """Puts a whole file unless one exists: the conditional put.

        :raises Conflict: if the file exists already.
        """
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

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        try:
            found = obstore.list_with_delimiter(self._objects, prefix=prefix)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._unavailable("listed", prefix, error) from error
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def delete(self, path: str) -> None:
        """Deletes a file; one that is not there is no error."""
        try:
            obstore.delete(self._objects, path)
        except (ObjectNotFound, FileNotFoundError):
            pass
        except obstore.exceptions.BaseError as error:
            raise self._unavailable("deleted", path, error) from error

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
                partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
                partial.write_bytes(self.read(path))
                partial.rename(target)
            found = file_sha256(target)
        if found != sha256:
            raise Corrupt(
                f"{path} in {self.url} has checksum {found[:12]}…, not {sha256[:12]}…",
                file=path,
            )
        return target

    def _unavailable(self, action: str, path: str, error: Exception) -> DependencyUnavailable:
        return DependencyUnavailable(f"{path} in {self.url} cannot be {action}: {error}", file=path)

    def _prove_conditional_put(self) -> None:
        path = f"probe-{uuid.uuid4().hex}"
        try:
            self.create(path, b"")
            try:
                self.create(path, b"")
            except Conflict:
                return
            raise BadSettings(
                f"the store {self.url} has no conditional put: two leaders could both commit;"
                " use a folder or an S3 that honours If-None-Match"
            )
        except (NotSupportedError, DependencyUnavailable) as error:
            raise BadSettings(f"the store {self.url} cannot be used: {error}") from error
        finally:
            self.delete(path)


def file_sha256(path: Path) -> str:
    """:raises NotFound: if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", file=path) from error


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _local_root(url: str) -> Path | None:
    if "://" not in url:
        return Path(url).expanduser().resolve()
    return Path(url.removeprefix("file://")).resolve() if url.startswith("file://") else None


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

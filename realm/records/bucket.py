"""A store in a bucket: `s3://…`, its credentials and endpoint from the usual `AWS_*` variables."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.exceptions import NotFoundError as ObjectNotFound
from obstore.store import ObjectStore, from_url
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from realm.loopback import is_loopback
from realm.records.folder import Entry

#: Waiting longer for a remote store would not mend it: whoever asked tries again.
RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
FIRST_PAUSE_SECONDS = 0.1
TIMEOUTS: Any = {"connect_timeout": "5s", "timeout": "60s"}
#: What a remote store says to wrong credentials or a wrong name: waiting does not mend it.
REFUSALS = (PermissionDeniedError, UnauthenticatedError, ObjectNotFound)


class BucketError(OSError):
    """`refused`: waiting does not mend it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error).partition("\n\nDebug source")[0])
        self.refused = isinstance(error, REFUSALS) or "NoSuchBucket" in str(error)


class Bucket:
    """Raises FileNotFoundError, FileExistsError, NotImplementedError, BucketError."""

    def __init__(self, objects: ObjectStore, once: ObjectStore) -> None:
        """:param once: the same objects, by a client that sends nothing again."""
        self._objects = objects
        self._once = once

    @classmethod
    def at(cls, url: str) -> Bucket:
        """:raises ValueError: if the URL is none of a bucket's."""
        options = _client(url)
        try:
            return cls(
                from_url(url, retry_config=RETRIES, client_options=options),
                from_url(url, retry_config={"max_retries": 0}, client_options=options),
            )
        except BaseError as error:
            raise ValueError(str(error)) from error

    def read(self, path: str) -> bytes:
        with _ours():
            return bytes(obstore.get(self._objects, path).bytes())

    def open(self, path: str) -> IO[bytes]:
        with _ours():
            return cast(IO[bytes], _Reader(obstore.open_reader(self._objects, path)))

    def write(self, path: str, data: bytes) -> None:
        with _ours(put=True):
            obstore.put(self._objects, path, data)

    def create(self, path: str, data: bytes) -> None:
        """Whose answer was lost may meet its own file when it is sent again: what it holds tells.
        The client cannot know that, so it sends nothing again here."""
        doubtful = False
        for attempt in _again():
            with attempt:
                try:
                    with _ours(put=True):
                        obstore.put(self._once, path, data, mode="create", use_multipart=False)
                except FileExistsError:
                    if not doubtful or self.read(path) != data:
                        raise
                except BucketError:
                    doubtful = True
                    raise

    def exists(self, path: str) -> bool:
        try:
            with _ours():
                obstore.head(self._objects, path)
        except FileNotFoundError:
            return False
        return True

    def entries(self, prefix: str) -> Iterator[Entry]:
        with _ours():
            for page in obstore.list(self._objects, prefix=prefix):
                for item in page:
                    yield Entry(item["path"], item["size"], item["last_modified"].timestamp())

    def files(self, prefix: str) -> Iterator[str]:
        return (entry.path for entry in self.entries(prefix))

    def folders(self, prefix: str) -> list[str]:
        with _ours():
            found = obstore.list_with_delimiter(self._objects, prefix=prefix)
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"]]

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                with _ours():
                    obstore.delete(self._objects, path)
            except FileNotFoundError:
                continue

    def remove_empty(self, folder: str) -> None:
        """A bucket has no folders."""


class _Reader(io.RawIOBase):
    """An object as Python's files are."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        with _ours():
            whole = size is None or size < 0
            return bytes(self._source.readall() if whole else self._source.read(size))

    def readall(self) -> bytes:
        return self.read()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._source.seek(offset, whence))

    def tell(self) -> int:
        return int(self._source.tell())


def _again() -> Retrying:
    """As the client itself tries again."""
    return Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, BucketError) and not e.refused),
        stop=stop_after_attempt(1 + RETRIES["max_retries"])
        | stop_after_delay(RETRIES.get("retry_timeout", timedelta())),
        wait=wait_random_exponential(FIRST_PAUSE_SECONDS),
        reraise=True,
    )


@contextmanager
def _ours(*, put: bool = False) -> Iterator[None]:
    """:param put: then a thing that is not found is the bucket."""
    try:
        yield
    except AlreadyExistsError as error:
        raise FileExistsError(str(error)) from error
    except NotSupportedError as error:
        raise NotImplementedError(str(error)) from error
    except (ObjectNotFound, FileNotFoundError) as error:
        if put:
            raise BucketError(error) from error
        raise FileNotFoundError(str(error)) from error
    except BaseError as error:
        raise BucketError(error) from error


def _client(url: str) -> Any:
    """Plain HTTP only to an endpoint that says so, as a test's or a cluster's own."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if not url.startswith("s3://") or not endpoint:
        return TIMEOUTS
    plain = {"allow_http": True} if endpoint.startswith("http://") else {}
    return {**TIMEOUTS, **plain, **(_around_proxies(endpoint) if is_loopback(endpoint) else {})}


def _around_proxies(endpoint: str) -> dict[str, Any]:
    """A proxy of one's own keeps that of the environment away, and all hosts are excluded of it."""
    return {"proxy_url": endpoint, "proxy_excludes": urlsplit(endpoint).hostname or ""}

"""JSON records with a checksum, checked against dataclasses; those that never change are read once;
folders of numbered records.

Records written before there were checksums are read unchecked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from realm.errors import Corrupt, NotFound

if TYPE_CHECKING:
    from realm.records.store import Store

CHECKSUM = "checksum"
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
T = TypeVar("T")

log = structlog.get_logger(__name__)


def to_bytes(value: Any) -> bytes:
    """As it is stored: an object with its checksum."""
    if isinstance(value, dict):
        plain = json.loads(json.dumps(value))
        value = {**plain, CHECKSUM: _checksum(plain)}
    return json.dumps(value, indent=1, sort_keys=True).encode()


def from_bytes(data: bytes, path: str) -> Any:
    """What was stored. :raises Corrupt: if it is no JSON, or not what was stored."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Corrupt(f"{path} is not JSON: {error}", file=path) from error
    if isinstance(value, dict) and CHECKSUM in value:
        checksum = value.pop(CHECKSUM)
        if checksum != _checksum(value):
            raise Corrupt(f"{path} is damaged, or was altered: its checksum differs", file=path)
    return value


def as_record(kind: type[T], value: Any, path: str) -> T:
    """A dataclass from what was read; fields of a newer release are passed over.

    :raises Corrupt: if a field is missing or of another type.
    """
    try:
        # By way of JSON, whose strict rules turn lists into tuples and text into enums, no more.
        found: T = _adapter(kind).validate_json(json.dumps(value), strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise Corrupt(
            f"{path} is no {kind.__name__}: {place}: {fault['msg']}", file=path
        ) from error
    return found


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class KnownRecords(Generic[T]):
    """Records of one kind that never change: each is read once. A damaged one is told once, and
    passed over.

    :param event: how the log calls a damaged one.
    :param name: how the path of a record ends, by what it says of itself.
    """

    def __init__(self, store: Store, kind: type[T], event: str, name: Callable[[T], str]) -> None:
        #: By path.
        self.known: dict[str, T] = {}
        self._store = store
        self._kind = kind
        self._event = event
        self._name = name
        self._told: set[str] = set()

    def get(self, path: str) -> T:
        """:raises NotFound:
        :raises Corrupt: if it is damaged, or not what its path says.
        """
        if path not in self.known:
            found = self._store.read_record(path, self._kind)
            if not path.endswith(self._name(found)):
                raise Corrupt(f"{path} holds what belongs in {self._name(found)}", file=path)
            self.known[path] = found
        return self.known[path]

    def find(self, path: str) -> T | None:
        """None if there is none, or it is damaged."""
        try:
            return self.get(path)
        except NotFound:
            return None
        except Corrupt as error:
            if error.message not in self._told:
                self._told.add(error.message)
                log.error(self._event, why=error.message)
            return None


def numbered(paths: Iterable[str], suffix: str = "") -> list[tuple[int, str]]:
    """Files named by a number, in numeric order; others are not ours."""
    named = _numbered(suffix).fullmatch
    return sorted([(int(found[1]), path) for path in paths if (found := named(path))])


@cache
def _numbered(suffix: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*/)?(\d+){re.escape(suffix)}", re.ASCII)


def _checksum(value: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(_canonical(value).encode()).hexdigest()}"

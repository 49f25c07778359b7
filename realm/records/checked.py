"""JSON records with a checksum, and folders of numbered ones: what is damaged, altered or strange
is told from what is ours. A record of before there were checksums is taken as it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from realm.errors import Corrupt

CHECKSUM = "checksum"
T = TypeVar("T")


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
    assert dataclasses.is_dataclass(kind)
    if not isinstance(value, dict):
        raise Corrupt(f"{path} is no record", file=path)
    types = typing.get_type_hints(kind)
    given = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = value[field.name]
            if not _fits(value[field.name], types[field.name]):
                raise Corrupt(f"{path} has a strange {field.name}", file=path)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise Corrupt(f"{path} lacks {field.name}", file=path)
    return typing.cast(T, kind(**given))


def numbered(paths: Iterable[str], suffix: str = "") -> list[tuple[int, str]]:
    """Those whose name is a number, in its order; others are none of ours."""
    name = re.compile(rf"(?:.*/)?(\d+){re.escape(suffix)}", re.ASCII)
    found = ((name.fullmatch(path), path) for path in paths)
    return sorted((int(each.group(1)), path) for each, path in found if each)


def _fits(value: Any, kind: Any) -> bool:
    """Of plain types; others are their reader's to judge."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(kind, type) or kind not in (str, bool) or isinstance(value, kind)


def _checksum(value: dict[str, Any]) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"

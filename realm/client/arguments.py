"""Checks of the client's arguments, before anything is sent.

Each function returns the value to use, or raises `InvalidInput` naming the argument.
"""

from __future__ import annotations

import math
import operator
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from realm import filters
from realm.errors import InvalidInput
from realm.v1.types_pb2 import Filter

UINT32 = 2**32 - 1
UINT64 = 2**64 - 1
#: About thirty years: more is no deadline.
ENDLESS_SECONDS = 1e9


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is {_kind(value)}: give text", field=name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name} holds half of a character (a lone surrogate) at place {error.start}: give"
            " text that UTF-8 can carry",
            field=name,
        ) from error
    return value


def integer(name: str, value: Any, most: int, least: int = 0) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInput(f"{name} is {_kind(value)}: give a whole number", field=name) from error
    if not least <= number <= most:
        shown = str(number) if number.bit_length() < 200 else "far out of range"
        raise InvalidInput(f"{name} is {shown}: give {least} to {most}", field=name)
    return number


def count(name: str, value: Any) -> int:
    return integer(name, value, UINT32, least=1)


def uint64(name: str, value: Any) -> int:
    return integer(name, value, UINT64)


def request_id(value: Any) -> str:
    """A new one if none is given."""
    return text("request_id", value) or str(uuid.uuid4())


def seconds(name: str, value: Any) -> float | None:
    """A duration; None for no deadline."""
    if value is None:
        return None
    if isinstance(value, bool | str | bytes):
        raise InvalidInput(f"{name} is {_kind(value)}: give seconds", field=name)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} is {_kind(value)}: give seconds", field=name) from error
    if not number >= 0:
        raise InvalidInput(f"{name} is {number}: give seconds, 0 or more", field=name)
    return number if number < ENDLESS_SECONDS else None


class Default(Enum):
    """The deadline of a call that is given none of its own."""

    TIMEOUT = "the client's timeout"


def deadline(value: Any, usual: float | None) -> float | None:
    """A call's own timeout, else the client's."""
    return usual if value is Default.TIMEOUT else seconds("timeout", value)


def where(value: Any) -> Filter | None:
    """A filter from one or several conditions, as `realm.filters.where` takes them."""
    if value is None:
        return None
    terms = (value,) if isinstance(value, str | Filter) else tuple(many("where", value))
    for each in terms:
        if not isinstance(each, Filter):
            text("where", each)
    return filters.where(*terms)


def mask(value: Any) -> FieldMask | None:
    """The fields of a response to send; None or none of them: all."""
    paths = [] if value is None else list(texts("fields", value))
    return FieldMask(paths=paths) if paths else None


def number(name: str, value: Any) -> float | None:
    """None stays None."""
    if value is None:
        return None
    if isinstance(value, bool | str | bytes):
        raise InvalidInput(f"{name} is {_kind(value)}: give a number", field=name)
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} is {_kind(value)}: give a number", field=name) from error
    if math.isnan(found):
        raise InvalidInput(f"{name} is not a number", field=name)
    return found


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} is {_kind(value)}: give True or False", field=name)
    return value


def called(name: str, value: Any) -> Any:
    if not callable(value):
        raise InvalidInput(f"{name} is {_kind(value)}: give a function", field=name)
    return value


def many(name: str, value: Any) -> Iterator[Any]:
    """The entries of any iterable but a text: one text where a list is meant is a mistake, and its
    characters would be taken for the entries."""
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping):
        raise InvalidInput(f"{name} is {_kind(value)}: give a list", field=name)
    try:
        return iter(value)
    except TypeError as error:
        raise InvalidInput(f"{name} is {_kind(value)}: give a list", field=name) from error


def texts(name: str, value: Any) -> Iterator[str]:
    return _checked(name, value, text)


def each_of(name: str, kind: type[Any], how: str, value: Any) -> Iterator[Any]:
    """:param how: how to make such an entry."""

    def check(field: str, each: Any) -> Any:
        if not isinstance(each, kind):
            raise InvalidInput(f"{field} is {_kind(each)}: make it with {how}", field=field)
        return each

    return _checked(name, value, check)


def _checked(name: str, value: Any, check: Callable[[str, Any], Any]) -> Iterator[Any]:
    """A list is checked as a whole, before its first entry is used."""
    entries = many(name, value)
    checked = (check(f"{name}[{place}]", each) for place, each in enumerate(entries))
    return iter(list(checked)) if isinstance(value, Collection) else checked


def text_map(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} is {_kind(value)}: give a dict of texts", field=name)
    found = {}
    for key, each in value.items():
        key = text(f"a key of {name}", key)
        found[key] = text(f"{name}[{key!r}]", each)
    return found


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    return f"one {'text' if isinstance(value, str) else type(value).__name__}"

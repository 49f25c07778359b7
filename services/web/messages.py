"""Messages of `realm.v1` as JSON and back: protobuf's own mapping, with the names of the protos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from realm import filters
from realm.errors import InvalidInput

JSON = "application/json"
#: How deep JSON may be nested: filters 8 deep are 24.
MAX_DEPTH = 64

M = TypeVar("M", bound=Message)


def to_plain(message: Message) -> Any:
    """Every field, also those of default values; messages only where they are set."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def to_json(message: Message) -> bytes:
    return encoded(to_plain(message))


def encoded(plain: Any) -> bytes:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def from_json(body: bytes, message: M) -> M:
    """The message, filled.

    :raises InvalidInput: if the body is no JSON of such a message.
    """
    try:
        return json_format.Parse(body, message, max_recursion_depth=MAX_DEPTH)
    except UnicodeDecodeError as error:
        raise InvalidInput("the body is not UTF-8", field="body") from error
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is no {message.DESCRIPTOR.name}: {error}") from error


def from_query(query: Iterable[tuple[str, str]], message: M, fields: Iterable[Any]) -> M:
    """Each parameter is one of the fields; `where`, any number of times, is the filter.

    :raises InvalidInput: naming the parameter that is unknown or unusable.
    """
    offered = {each.name: each for each in fields}
    terms: list[str] = []
    for name, value in query:
        if name == "where" and "filter" in message.DESCRIPTOR.fields_by_name:
            terms.append(value)
        elif name in offered:
            _set(message, offered[name], value)
        else:
            raise InvalidInput(f"there is no parameter {name[:80]}", field=name[:80])
    if terms:
        message.filter.CopyFrom(filters.where(*terms))  # type: ignore[attr-defined]
    return message


def simple_fields(descriptor: Any) -> Iterator[Any]:
    """The fields that a query can give: one value, and no message."""
    return (
        each for each in descriptor.fields if each.message_type is None and not each.is_repeated
    )


def _set(message: Message, field: Any, value: str) -> None:
    given: str | bool = value
    if field.type == FieldDescriptor.TYPE_BOOL:
        if value not in ("true", "false"):
            raise InvalidInput(f"{field.name} is {value[:40]!r}: give true or false")
        given = value == "true"
    try:
        json_format.ParseDict({field.name: given}, message)
    except (json_format.ParseError, ValueError) as error:
        raise InvalidInput(f"{field.name} cannot be {value[:40]!r}", field=field.name) from error

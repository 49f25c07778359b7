"""Messages as plain values for `--json`: numbers stay numbers, times are ISO 8601."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def to_json(value: object) -> str:
    """One line."""
    return json.dumps(to_plain(value), ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """Scalars are always there, messages only when set; enums by name, durations in seconds."""
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, Duration):
        return value.ToNanoseconds() / 1e9
    if isinstance(value, Message):
        return {
            field.name: _field(field, getattr(value, field.name))
            for field in value.DESCRIPTOR.fields
            if not field.has_presence or value.HasField(field.name)
        }
    if isinstance(value, dict):
        return {key: to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return value


def _field(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: to_plain(value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [to_plain(each) for each in value]
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return to_plain(value)

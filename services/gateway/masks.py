"""Field masks: which fields of a response are sent."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from realm.errors import InvalidInput

MAX_PATHS = 100


class Mask:
    """The fields named, and all that is in them; without any, every field.

    As in AIP-157, except that a path leads through the entries of a repeated field too:
    `passages.passage.document_id`.
    """

    def __init__(self, mask: FieldMask, response: Any) -> None:
        """:param response: the class of the responses.
        :raises InvalidInput: naming a path that they do not have.
        """
        if len(mask.paths) > MAX_PATHS:
            raise InvalidInput(
                f"read_mask has {len(mask.paths)} paths: give at most {MAX_PATHS}",
                field="read_mask",
            )
        self._fields: dict[str, Any] = {}
        for path in mask.paths:
            _add(self._fields, path, response.DESCRIPTOR)

    def apply(self, response: Any) -> Any:
        """The same response, without the fields that were not asked for."""
        if self._fields:
            _prune(response, self._fields)
        return response


#: The fields below one that was asked for as a whole.
_WHOLE: dict[str, Any] = {}


def _add(fields: dict[str, Any], path: str, descriptor: Descriptor) -> None:
    names = path.split(".")
    within: Descriptor | None = descriptor
    for place, name in enumerate(names):
        field = within.fields_by_name.get(name) if within is not None else None
        if field is None:
            known = ", ".join(within.fields_by_name) if within is not None else "nothing"
            raise InvalidInput(
                f"read_mask names {path[:80]!a}, but {'.'.join(names[:place]) or 'a response'}"
                f" has no {name[:80]!a}: it has {known}",
                field="read_mask",
            )
        last = place == len(names) - 1
        if name in fields and fields[name] is _WHOLE:
            return
        if last:
            fields[name] = _WHOLE
        else:
            fields = fields.setdefault(name, {})
        within = _below(field)


def _below(field: FieldDescriptor) -> Descriptor | None:
    """The message inside a field; None in a map or a scalar."""
    found = field.message_type
    return None if found is None or found.GetOptions().map_entry else found


def _prune(message: Any, fields: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        below = fields.get(field.name)
        if below is None:
            message.ClearField(field.name)
        elif below is not _WHOLE:
            for each in [value] if isinstance(value, Message) else value:
                _prune(each, below)

"""A line of JSON as a document: our own fields, and the names and types of common exports."""

from __future__ import annotations

import json
from typing import Any

from realm.corpus.documents import Document, one_form, shown
from realm.errors import InvalidInput

_KNOWN = frozenset(["id", "title", "text", "metadata"])


def from_json(line: str) -> Document:
    """`id` and `text`, and where there are any `title` and `metadata`.

    `_id` is taken for `id`, a whole number for its digits; metadata that is not text becomes JSON.

    :raises InvalidInput: if the line says anything else.
    """
    row = _object(line)
    if "id" not in row and "_id" in row:
        row["id"] = row.pop("_id")
    missing = [name for name in ("id", "text") if name not in row]
    if missing:
        raise InvalidInput(f"{' and '.join(missing)} missing")
    unknown = sorted(row.keys() - _KNOWN)
    if unknown:
        names = ", ".join(shown(name) for name in unknown[:5])
        raise InvalidInput(f"unknown field {names}: remove it or put it into metadata")
    title = row.get("title")
    metadata = row.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: _as_text(value) for key, value in metadata.items() if value is not None}
    return Document(
        _id(row["id"]),
        "" if title is None else title,
        row["text"],
        {} if metadata is None else metadata,
    )


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.encode("utf-8", "surrogateescape").decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not UTF-8 at byte {error.start}: convert it") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InvalidInput("not a JSON object with id and text")
    return row


def _id(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["$oid"]:  # as MongoDB exports it
        value = value["$oid"]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return one_form(value) if isinstance(value, str) else value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

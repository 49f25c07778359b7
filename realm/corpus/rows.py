"""Documents out of rows: objects of JSON Lines, rows of CSV, records of Parquet.

A row has `id` and `text`, and perhaps `title`, `answer` and `metadata`; or it is a pair of a FAQ,
`question` and `answer`, whose id may be left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from realm.corpus.documents import Document, normalise_id, shown
from realm.errors import InvalidInput

_KNOWN = frozenset(["id", "title", "text", "metadata", "answer"])
SEPARATORS = ",;\t"


#: By which other name a field of a document goes.
Columns = Mapping[str, str]
_AS_NAMED: Columns = {}


def from_json(line: str, columns: Columns = _AS_NAMED) -> Document:
    """A line of JSON.

    `_id` is taken for `id`, a whole number for its digits; metadata that is not text becomes JSON.

    :raises InvalidInput: if the line says anything else.
    """
    row = _renamed(_object(line), columns)
    if "id" not in row and "_id" in row:
        row["id"] = row.pop("_id")
    row = _as_document(row)
    if unknown := sorted(row.keys() - _KNOWN):
        names = ", ".join(shown(name) for name in unknown[:5])
        raise InvalidInput(f"unknown field {names}: remove it or put it into metadata")
    return _document(row, _metadata(row))


def from_values(row: dict[str, Any], columns: Columns = _AS_NAMED) -> Document:
    """A record with types: values that are None are left out, columns that are no field become
    metadata. One without an id is named by its content.

    :raises InvalidInput: if there is no document in it.
    """
    given = {name: value for name, value in row.items() if value is not None}
    found = _as_document(_renamed(given, columns))
    if "id" not in found and "_id" in found:
        found["id"] = found.pop("_id")
    if "id" not in found and "text" in found:
        found["id"] = f"row/{_hash(json.dumps(found, sort_keys=True, default=str))}"
    if isinstance(pairs := found.get("metadata"), list):  # as Arrow gives a map
        found["metadata"] = dict(pairs)
    others = {name: _as_text(value) for name, value in found.items() if name not in _KNOWN}
    return _document(found, {**others, **_metadata(found)})


def from_cells(row: dict[str, str] | str, columns: Columns = _AS_NAMED) -> Document:
    """A row of a table: empty cells are left out, columns that are no field become metadata.

    :raises InvalidInput: if there is no document in it; a text says why.
    """
    if isinstance(row, str):
        raise InvalidInput(row)
    cells = {name: cell for name, cell in row.items() if cell.strip()}
    found = _as_document(_renamed(cells, columns))
    metadata = {name: cell for name, cell in found.items() if name not in _KNOWN}
    return _document(found, metadata)


def read_table(file: TextIO, longest: int) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Rows by the names in the first one, each with the number of its last line; for a row that is
    none, why.

    :param longest: characters of one cell.
    """
    first = file.readline(longest).removeprefix("\ufeff")
    separator = max(SEPARATORS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    csv.field_size_limit(longest)
    rows = csv.reader(file, delimiter=separator)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield rows.line_num + 1, f"not a row of a table: {error}"
            continue
        if not cells:
            continue
        if len(cells) > len(names):
            yield rows.line_num + 1, f"{len(cells)} cells in a table of {len(names)} columns"
        else:
            yield rows.line_num + 1, dict(zip(names, cells, strict=False))


def _as_document(row: dict[str, Any]) -> dict[str, Any]:
    """A pair's question is its text, and names it if nothing else does."""
    if "question" not in row or "text" in row:
        return row
    if "answer" not in row:
        raise InvalidInput("answer missing")
    question = row.pop("question")
    return {"id": f"faq/{_hash(str(question))}", **row, "text": question}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _renamed(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """A field that goes by another name takes the place of what has its own."""
    for field, column in columns.items():
        if column in row:
            row[field] = row.pop(column)
    return row


def _metadata(row: dict[str, Any]) -> dict[str, str]:
    """Values that are no text become JSON."""
    found: Any = row.get("metadata")
    if isinstance(found, dict):
        return {key: _as_text(value) for key, value in found.items() if value is not None}
    if found is not None:
        raise InvalidInput("metadata must be an object of texts")
    return {}


def _document(row: dict[str, Any], metadata: dict[str, str]) -> Document:
    if missing := [name for name in ("id", "text") if name not in row]:
        raise InvalidInput(f"{' and '.join(missing)} missing")
    title, answer = row.get("title"), row.get("answer")
    return Document(
        _id(row["id"]),
        "" if title is None else title,
        row["text"],
        metadata,
        "" if answer is None else answer,
    )


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.encode("utf-8", "surrogateescape").decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"not UTF-8, or what encoding was named, at byte {error.start}: name it, or convert it"
        ) from error
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
    return normalise_id(value) if isinstance(value, str) else value


def _as_text(value: Any) -> str:
    """Text as it is, a date as Python writes it, all else as JSON."""
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)

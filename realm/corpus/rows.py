"""Documents out of rows: objects of JSON Lines, and rows of CSV.

A row has `id` and `text`, and perhaps `title`, `answer` and `metadata`; or it is a pair of a FAQ,
`question` and `answer`, whose id may be left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from typing import Any, TextIO

from realm.corpus.documents import Document, normalise_id, shown
from realm.errors import InvalidInput

_KNOWN = frozenset(["id", "title", "text", "metadata", "answer"])
SEPARATORS = ",;\t"


def from_json(line: str) -> Document:
    """A line of JSON.

    `_id` is taken for `id`, a whole number for its digits; metadata that is not text becomes JSON.

    :raises InvalidInput: if the line says anything else.
    """
    row = _object(line)
    if "id" not in row and "_id" in row:
        row["id"] = row.pop("_id")
    row = _as_document(row)
    if unknown := sorted(row.keys() - _KNOWN):
        names = ", ".join(shown(name) for name in unknown[:5])
        raise InvalidInput(f"unknown field {names}: remove it or put it into metadata")
    metadata = row.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: _as_text(value) for key, value in metadata.items() if value is not None}
    return _document(row, {} if metadata is None else metadata)


def from_cells(row: dict[str, str] | str) -> Document:
    """A row of a table: empty cells are left out, columns that are no field become metadata.

    :raises InvalidInput: if there is no document in it; a text says why.
    """
    if isinstance(row, str):
        raise InvalidInput(row)
    found = _as_document({name: cell for name, cell in row.items() if cell.strip()})
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
    named = hashlib.sha256(str(question).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return {"id": f"faq/{named}", **row, "text": question}


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
    return normalise_id(value) if isinstance(value, str) else value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

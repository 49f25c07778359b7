"""Proves that a document is erased: searches every file of the store and every collection for its
id and its text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from realm.corpus.documents import passage_id
from realm.errors import NotFound
from realm.records.arrow import DIGEST_BYTES
from realm.records.store import Store

#: A document of so many passages and more is found by the first of them.
PASSAGES = 64
#: Weights of models and tokenizers hold no document's rows, only what was learnt.
WEIGHTS = (".safetensors", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Trace:
    """A remainder of a document: where (a file's path or a collection's name), and what."""

    place: str
    found: str


@dataclass(frozen=True, slots=True)
class ErasureQuery:
    """What to search for: document ids and pieces of text."""

    document_ids: Sequence[str]
    texts: Sequence[str] = ()

    def passages(self) -> list[str]:
        return [passage_id(each, n) for each in self.document_ids for n in range(PASSAGES)]


def search_store(
    store: Store,
    wanted: ErasureQuery,
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trace]:
    """Reads every file; `on_file` is told how many of how many are done."""
    entries = [each for each in store.entries("") if not each.path.endswith(WEIGHTS)]
    found: list[Trace] = []
    for number, entry in enumerate(entries, 1):
        try:
            data = store.read(entry.path)
        except NotFound:
            data = b""  # it went while we looked
        found += [Trace(entry.path, what) for what in _in_file(entry.path, data, wanted)]
        on_file(number, len(entries))
    return found


def search_collections(
    names: Sequence[str], count: Callable[[str, str], int], wanted: ErasureQuery
) -> list[Trace]:
    """:param count: how many points of a collection belong to a document."""
    found: list[Trace] = []
    for name in names:
        with suppress(NotFound):  # it went while we looked
            for document_id in wanted.document_ids:
                if points := count(name, document_id):
                    found.append(Trace(name, f"{points} points of document {document_id}"))
    return found


def _in_file(path: str, data: bytes, wanted: ErasureQuery) -> Iterator[str]:
    """What of the wanted is in a file: tables by column, everything else by its bytes."""
    try:
        if path.endswith(".arrow"):
            stream = pa.py_buffer(data[:-DIGEST_BYTES])
            yield from _in_table(pa.ipc.open_stream(stream).read_all(), wanted)
            return
        if path.endswith(".parquet"):
            yield from _in_table(pq.read_table(io.BytesIO(data)), wanted)
            return
    except (pa.ArrowException, OSError):
        yield from ()  # damaged: its bytes are looked through
    for document_id in wanted.document_ids:
        if json.dumps(document_id).encode() in data or f'"{document_id}"'.encode() in data:
            yield f"document id {document_id}"
    for text in wanted.texts:
        # As it is, or as JSON writes it.
        if text.encode() in data or json.dumps(text)[1:-1].encode() in data:
            yield f"text {text[:40]!r}"


def _in_table(table: pa.Table, wanted: ErasureQuery) -> Iterator[str]:
    documents = pa.array(list(wanted.document_ids), pa.string())
    for column in table.column_names:
        kind = table.schema.field(column).type
        if not (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
            or pa.types.is_dictionary(kind)
        ):
            continue
        values = table[column].cast(pa.string())
        if column == "passage_id":
            mine = pa.array(wanted.passages(), pa.string())
            if pc.any(pc.is_in(values, value_set=mine)).as_py():
                yield "a passage's id"
        elif pc.any(pc.is_in(values, value_set=documents)).as_py():
            yield f"a document's id in column {column}"
        for text in wanted.texts:
            if pc.any(pc.match_substring(values, text)).as_py():
                yield f"text {text[:40]!r} in column {column}"
    for value in (table.schema.metadata or {}).values():
        for document_id in wanted.document_ids:
            if json.dumps(document_id).encode() in value:
                yield f"document id {document_id} in the file's metadata"

"""The corpus: an append-only Delta table, written by the leading indexer alone.

Each commit creates one Delta version and stamps its rows with that number: the corpus version.
A document's state is its newest row; the changes from v to w are the rows with v < version ≤ w.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from realm.corpus.documents import Document, stable_bucket
from realm.errors import Conflict
from realm.store import Store

#: Buckets of the `bucket` column; a shard is a residue class of them.
BUCKETS = 4096

SCHEMA = pa.schema(
    [
        pa.field("version", pa.int64(), nullable=False),
        pa.field("op", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("text", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("bucket", pa.int32(), nullable=False),
        pa.field("written_at", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Change:
    """One write: an upsert carries the document, a deletion its id alone."""

    document_id: str
    document: Document | None
    request_id: str

    @property
    def op(self) -> Literal["upsert", "delete"]:
        return "upsert" if self.document else "delete"


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The newest row of a document. `document` is None if it was deleted."""

    document_id: str
    version: int
    document: Document | None
    bucket: int


class CorpusTable:
    """Appends changes and reads states. Not thread-safe: one thread owns it."""

    def __init__(self, store: Store) -> None:
        self._uri = str(store.root / "corpus") if store.root else f"{store.url}/corpus"
        self._table = self._open_or_create()

    @property
    def version(self) -> int:
        """The newest corpus version that this table has seen."""
        return self._table.version()

    def refresh(self) -> int:
        """Looks for versions that somebody else wrote."""
        self._table.update_incremental()
        return self.version

    def append(self, changes: Iterable[Change]) -> int:
        """Commits changes as the next version and returns it; durable on return.

        :raises Conflict: if another writer made that version: do you still lead?
        """
        version = self.version + 1
        rows = _rows(changes, version)
        try:
            write_deltalake(
                self._table,
                rows,
                mode="append",
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except CommitFailedError as error:
            raise Conflict(
                f"corpus version {version} was written by somebody else", version=version
            ) from error
        self._table.update_incremental()
        if self.version != version:
            raise Conflict(f"corpus version {version} expected, {self.version} found")
        return version

    def changes(self, after: int, upto: int) -> list[DocumentState]:
        """Documents changed in versions after < version ≤ upto, each in its newest state."""
        rows = self._read([("version", ">", after), ("version", "<=", upto)])
        return list(_newest(rows))

    def states(self, upto: int) -> Iterator[DocumentState]:
        """Every document that exists at a version, in its state then."""
        rows = self._read([("version", "<=", upto)])
        return (state for state in _newest(rows) if state.document is not None)

    def get(self, document_id: str) -> DocumentState | None:
        """A document's newest state; None if it never existed or was deleted."""
        bucket = stable_bucket(document_id, BUCKETS)
        rows = self._read([("bucket", "=", bucket), ("document_id", "=", document_id)])
        found = next(iter(_newest(rows)), None)
        return found if found and found.document else None

    def requests(self, since: float) -> dict[str, int]:
        """Request ids of writes since a Unix time, with the version that holds each."""
        columns = ["request_id", "version"]
        rows = self._read([("written_at", ">=", since)], columns)
        return dict(zip(rows["request_id"].to_pylist(), rows["version"].to_pylist(), strict=True))

    def written_at(self, version: int) -> float | None:
        """Unix time of a version's commit; None for a version without rows."""
        rows = self._read([("version", "=", version)], ["written_at"])
        return pc.min(rows["written_at"]).as_py() if rows.num_rows else None

    def _open_or_create(self) -> DeltaTable:
        try:
            return DeltaTable(self._uri)
        except TableNotFoundError:
            try:
                return DeltaTable.create(self._uri, SCHEMA, mode="error")
            except Exception as error:  # deltalake raises DeltaError for a table just made
                try:
                    return DeltaTable(self._uri)
                except TableNotFoundError:
                    raise error from None

    def _read(
        self, filters: list[tuple[str, str, object]], columns: list[str] | None = None
    ) -> pa.Table:
        return self._table.to_pyarrow_table(filters=filters, columns=columns)


def _rows(changes: Iterable[Change], version: int) -> pa.Table:
    now = time.time()
    return pa.Table.from_pylist(
        [
            {
                "version": version,
                "op": change.op,
                "document_id": change.document_id,
                "title": change.document.title if change.document else None,
                "text": change.document.text if change.document else None,
                "metadata": json.dumps(change.document.metadata) if change.document else None,
                "request_id": change.request_id,
                "bucket": stable_bucket(change.document_id, BUCKETS),
                "written_at": now,
            }
            for change in changes
        ],
        schema=SCHEMA,
    )


def _newest(rows: pa.Table) -> Iterator[DocumentState]:
    """The last row of each document; within one version the later row wins."""
    numbered = rows.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    ordered = numbered.sort_by([("version", "ascending"), ("row", "ascending")])
    newest: dict[str, int] = {}
    for place, document_id in enumerate(ordered["document_id"].to_pylist()):
        newest[document_id] = place
    places = pa.array(sorted(newest.values()), pa.int64())
    for row in ordered.take(places).to_pylist():
        document = (
            Document(row["document_id"], row["title"], row["text"], json.loads(row["metadata"]))
            if row["op"] == "upsert"
            else None
        )
        yield DocumentState(row["document_id"], row["version"], document, row["bucket"])

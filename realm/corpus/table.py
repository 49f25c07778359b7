"""The corpus: an append-only Delta table, written by the leading indexer alone.

Each commit creates one Delta version and stamps its rows with that number: the corpus version.
A document's state is its newest row; the changes from v to w are the rows with v < version ≤ w.
Maintenance makes versions too, without rows of their own. A row that counts no more is `erased`:
it keeps its request id, so that a write sent again is known, and nothing of its document. Which
files the table is made of, and how it is committed: `realm.corpus.delta_log`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from realm.corpus import compaction
from realm.corpus.data_files import (
    DataFile,
    Filter,
    all_pass,
    batches,
    coalesced,
    joined,
    may_contain,
    read_rows,
)
from realm.corpus.delta_log import DeltaLog
from realm.corpus.documents import Document, stable_bucket
from realm.corpus.purge import ERASED, KEPT, MARKS, PurgeResult, fates_of, purged
from realm.errors import DamagedCorpus, NotFound
from realm.records.store import Store

#: Keeps names and texts of documents out of the table's log.
CONFIGURATION = {
    "delta.dataSkippingStatsColumns": "version,bucket,written_at",
    "delta.logRetentionDuration": "interval 1 days",
}

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
        # Younger than the others: a table of before gets them with its first append.
        pa.field("request_digest", pa.string()),
        pa.field("answer", pa.string()),
    ]
)
#: Columns of a document's state without its text.
TEXTLESS = ["version", "op", "document_id", "title", "metadata", "bucket"]
#: Columns of a request.
REQUESTS = ["version", "request_id", "request_digest", "written_at"]
#: Delta's names of types.
TYPES = {pa.int64(): "long", pa.int32(): "integer", pa.float64(): "double", pa.string(): "string"}


@dataclass(frozen=True, slots=True)
class Change:
    """One write: an upsert carries the document, a deletion its id alone; one without an id changes
    nothing, but the request is known. `request_digest` stands for all that was asked for under the
    request id; empty: it is not known."""

    document_id: str
    document: Document | None
    request_id: str
    request_digest: str = ""

    @property
    def op(self) -> Literal["upsert", "delete", "erased"]:
        if self.document:
            return "upsert"
        return "delete" if self.document_id else ERASED


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The newest row of a document. `document` is None if it was deleted."""

    document_id: str
    version: int
    document: Document | None
    bucket: int


@dataclass(frozen=True, slots=True)
class Write:
    """A row without its text: `characters` of title and text, 0 of a deletion."""

    document_id: str
    version: int
    characters: int


class CorpusTable:
    """Appends changes and reads states. Not thread-safe: one thread owns it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._log = DeltaLog(store, _delta_schema(), CONFIGURATION)

    @property
    def version(self) -> int:
        """The newest corpus version that this table has seen."""
        return self._log.version

    def refresh(self) -> int:
        """Looks for versions that somebody else wrote."""
        return self._log.refresh()

    def append(self, changes: Iterable[Change]) -> int:
        """Commits changes as the next version and returns it; durable on return.

        :raises Conflict: if another writer made that version: do you still lead?
        """
        added = self._log.write(_rows(changes, self.version + 1), SCHEMA)
        return self._log.commit([added] if added else [])

    def changes(self, after: int, upto: int) -> list[DocumentState]:
        """Documents changed in versions after < version ≤ upto, each in its newest state."""
        rows = self._read([("version", ">", after), ("version", "<=", upto)])
        return list(_newest(rows))

    def writes(self, after: int, upto: int) -> list[Write]:
        """Rows of versions after < version ≤ upto without their texts, in order of versions."""
        names = ["version", "op", "document_id", "title", "text"]
        rows = self._read([("version", ">", after), ("version", "<=", upto)], names)
        rows = rows.filter(pc.not_equal(rows["op"], ERASED))
        sizes = pc.add(pc.utf8_length(rows["title"]), pc.utf8_length(rows["text"]))
        columns = [rows["document_id"].to_pylist(), rows["version"].to_pylist(), sizes.to_pylist()]
        found = (
            Write(name, version, size or 0) for name, version, size in zip(*columns, strict=True)
        )
        return sorted(found, key=lambda write: write.version)

    def changed_since(self, version: int, document_ids: Sequence[str]) -> set[str]:
        """Those of the documents that were written or deleted in a later version."""
        rows = self._read([("version", ">", version)], ["document_id"])
        among = pc.is_in(rows["document_id"], value_set=pa.array(document_ids, pa.string()))
        rows = rows.filter(among)
        return set(rows["document_id"].to_pylist())

    def states(self, upto: int) -> Iterator[DocumentState]:
        """Every document that exists at a version, in its state then."""
        rows = self._read([("version", "<=", upto)])
        return (state for state in _newest(rows) if state.document is not None)

    def lookup(self, document_id: str) -> Callable[[], DocumentState | None]:
        """A document's newest state at the version that this table has seen, None if it never
        existed or was deleted: for another thread to read, which needs the table no more. It
        raises NotFound if a newer version has the document elsewhere."""
        bucket = stable_bucket(document_id, BUCKETS)
        filters: list[Filter] = [("bucket", "=", bucket), ("document_id", "=", document_id)]
        files, store = [f for f in self._log.files() if may_contain(f, filters)], self._store

        def read() -> DocumentState | None:
            rows = [read_rows(store, file, filters, SCHEMA) for file in files]
            found = next(_newest(joined(rows, SCHEMA)), None)
            return found if found and found.document else None

        return read

    @property
    def rows(self) -> int:
        """How many the table has, those that count no more included."""
        return sum(file.rows for file in self._log.files())

    def newest(self, document_ids: Sequence[str]) -> dict[str, DocumentState]:
        """The newest states of those documents that were ever written, without their texts."""
        rows = self._read([("document_id", "in", list(document_ids))], TEXTLESS)
        return {each.document_id: each for each in _newest(rows)}

    def band(self, first: int, stop: int, *, texts: bool = False) -> list[DocumentState]:
        """Documents that exist, of the buckets first ≤ bucket < stop, in their newest states, in
        order of bucket and id.

        :param texts: without them it reads much less.
        """
        columns = [*TEXTLESS, "text", "answer"] if texts else TEXTLESS
        rows = self._read([("bucket", ">=", first), ("bucket", "<", stop)], columns)
        found = [each for each in _newest(rows) if each.document is not None]
        return sorted(found, key=lambda each: (each.bucket, each.document_id))

    def requests(self, most: int, after: int = 0) -> pa.Table:
        """The newest requests, `most` at the most, of versions > `after`: a row of `REQUESTS` each,
        oldest first. Holds no more than a few times as many in memory."""
        schema = _columns(REQUESTS)
        # A version holds one request at the least.
        recent: list[Filter] = [("version", ">", max(after, self.version - most))]

        def newest() -> pa.Table:
            found: list[pa.Table] = []
            for each in self._tables(recent, schema):
                found.append(each)
                if sum(rows.num_rows for rows in found) > 2 * most:
                    found = [_newest_requests(joined(found, schema), most)]
            return _newest_requests(joined(found, schema), most)

        return self._retried(newest)

    def oldest_write(self, after: int) -> float | None:
        """Unix time of the oldest write in a version > `after`; None if there is none."""
        later: Filter = ("version", ">", after)
        files = [each for each in self._log.files() if may_contain(each, [later])]
        bounds = [each.lowest.get("written_at") for each in files if all_pass(each, later)]
        known = [each for each in bounds if each is not None]
        if len(known) == len(files):  # no need to read what was not joined with older ones
            return min(known, default=None)
        read = self._read([later], ["written_at"])["written_at"].to_pylist()
        return min(read, default=None)

    def deleted_before(self, moment: float) -> int:
        """The newest version in which a document was deleted before a Unix time; 0 if none was."""
        rows = self._read([("op", "=", "delete"), ("written_at", "<", moment)], ["version"])
        return pc.max(rows["version"]).as_py() or 0

    def oldest_deletion(self) -> float | None:
        """Unix time of the oldest deletion that the table still tells of; None: of none."""
        rows = self._read([("op", "=", "delete")], ["written_at"])
        return pc.min(rows["written_at"]).as_py() if rows.num_rows else None

    def purge(self, upto: int, requests_since: float, deletions_before: float) -> PurgeResult:
        """Erases, of the rows up to a version, those that count no more at it: older states of
        documents, and the last trace of those deleted before a Unix time.

        Request ids of writes since a Unix time stay. What is erased is still in the old files
        until they are vacuumed.

        :raises Conflict: if another writer wrote meanwhile: do you still lead?
        """
        files = [f for f in self._log.files() if may_contain(f, [("version", "<=", upto)])]
        marks = [read_rows(self._store, f, [], _columns(MARKS)) for f in files]
        if not marks:
            return PurgeResult(0, 0, 0.0)
        fates, forgotten = fates_of(pa.concat_tables(marks), upto, requests_since, deletions_before)
        if not forgotten.rows:
            return forgotten
        touched: dict[str, pa.Array] = {}
        row = 0
        for file, read in zip(files, marks, strict=True):
            mine = fates.slice(row, read.num_rows)
            row += read.num_rows
            if not pc.all(pc.equal(mine, KEPT)).as_py():
                touched[file.name] = mine

        def after(file: DataFile) -> Iterator[pa.RecordBatch]:
            rows = read_rows(self._store, file, [], SCHEMA)
            yield from purged(rows, touched[file.name]).to_batches()

        groups = compaction.fitting([f for f in files if f.name in touched])
        self._rewrite(list(groups), after)
        return forgotten

    @property
    def is_scattered(self) -> bool:
        """Whether it is time to compact it."""
        return compaction.is_scattered(self._log.files())

    def compact(self) -> None:
        """Joins small files. :raises Conflict: as `purge` does."""
        if groups := compaction.joined(self._log.files()):
            self._rewrite(groups, lambda f: batches(self._store, f, SCHEMA), same_rows=True)

    def _rewrite(
        self,
        groups: list[list[DataFile]],
        read: Callable[[DataFile], Iterator[pa.RecordBatch]],
        *,
        same_rows: bool = False,
    ) -> None:
        """Each group of files becomes one, of the rows that `read` gives."""
        add = [
            self._log.write(coalesced(batch for f in group for batch in read(f)), SCHEMA)
            for group in groups
        ]
        gone = [f for group in groups for f in group]
        self._log.commit([each for each in add if each], gone, same_rows=same_rows)

    def vacuum(self, hours: int) -> int:
        """Deletes files that no version since so many hours ago has; returns how many."""
        return self._log.vacuum(time.time(), hours * 3600.0)

    def trim_log(self) -> None:
        """A checkpoint, and what it covers goes when it is old."""
        self._log.clean(time.time())

    def _read(self, filters: list[Filter], columns: list[str] | None = None) -> pa.Table:
        """The rows that all of the filters let pass, in the order in which they were written."""
        schema = _columns(columns) if columns else SCHEMA
        return self._retried(lambda: joined([*self._tables(filters, schema)], schema))

    def _tables(self, filters: list[Filter], schema: pa.Schema) -> Iterator[pa.Table]:
        """A file's rows each."""
        for file in self._log.files():
            if may_contain(file, filters):
                yield read_rows(self._store, file, filters, schema)

    def _retried(self, read: Callable[[], pa.Table]) -> pa.Table:
        """What a vacuum takes a newer version has elsewhere."""
        while True:
            version = self.version
            try:
                return read()
            except NotFound as error:
                if self.refresh() == version:
                    raise DamagedCorpus(f"the corpus lacks a file: {error}") from error


@cache
def _delta_schema() -> str:
    fields = [
        {"name": f.name, "type": TYPES[f.type], "nullable": f.nullable, "metadata": {}}
        for f in SCHEMA
    ]
    return json.dumps({"type": "struct", "fields": fields})


def _columns(names: list[str]) -> pa.Schema:
    return pa.schema([SCHEMA.field(name) for name in names])


def _rows(changes: Iterable[Change], version: int) -> pa.Table:
    changes, now = list(changes), time.time()
    documents = [change.document for change in changes]
    columns: dict[str, list[Any]] = {
        "version": [version] * len(changes),
        "op": [change.op for change in changes],
        "document_id": [change.document_id for change in changes],
        "title": [each.title if each else None for each in documents],
        "text": [each.text if each else None for each in documents],
        "metadata": [json.dumps(each.metadata) if each else None for each in documents],
        "request_id": [change.request_id for change in changes],
        "bucket": [stable_bucket(change.document_id, BUCKETS) for change in changes],
        "written_at": [now] * len(changes),
        "request_digest": [change.request_digest or None for change in changes],
        "answer": [(each.answer or None) if each else None for each in documents],
    }
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def _newest_requests(rows: pa.Table, most: int) -> pa.Table:
    """Each once, though its rows lie in several files."""
    once = (
        rows.group_by(rows.column_names, use_threads=False).aggregate([]).select(rows.column_names)
    )
    ordered = once.sort_by([("version", "ascending")])
    return ordered.slice(max(0, ordered.num_rows - most))


def _newest(rows: pa.Table) -> Iterator[DocumentState]:
    """The last row of each document; within one version the later row wins. Without their column
    texts are empty."""
    names, ops = rows["document_id"].to_pylist(), rows["op"].to_pylist()
    newest: dict[str, int] = {}
    for place in pc.sort_indices(rows["version"]).to_pylist():  # it leaves equals in their order
        if ops[place] != ERASED:
            newest.pop(names[place], None)  # so that the dictionary too is in order of versions
            newest[names[place]] = place
    for row in rows.take(pa.array(newest.values(), pa.int64())).to_pylist():
        document = _document(row) if row["op"] == "upsert" else None
        yield DocumentState(row["document_id"], row["version"], document, row["bucket"])


def _document(row: dict[str, Any]) -> Document:
    return Document(
        row["document_id"],
        row["title"],
        row.get("text", ""),
        json.loads(row["metadata"]),
        row.get("answer") or "",
    )

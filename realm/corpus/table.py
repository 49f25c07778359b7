"""The corpus: an append-only Delta table, written by the leading indexer alone.

Each commit creates one Delta version and stamps its rows with that number: the corpus version.
A document's state is its newest row; the changes from v to w are the rows with v < version ≤ w.
Maintenance makes versions too, without rows of their own. A row that counts no more is `erased`:
it keeps its request id, so that a write sent again is known, and nothing of its document.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from realm.corpus.documents import Document, stable_bucket
from realm.errors import Conflict, Corrupt
from realm.store import Store

FOLDER = "corpus"
ERASED = "erased"
#: What else may become of a row.
KEPT, DROPPED = "kept", "dropped"
#: Columns that tell which rows count: no texts.
MARKS = ["version", "op", "document_id", "written_at"]
#: No names and no texts of documents get into the table's log.
CONFIGURATION = {
    "delta.dataSkippingStatsColumns": "version,bucket,written_at",
    "delta.logRetentionDuration": "interval 1 days",
}

#: As `realm.store`: whoever waits for the commit learns that it failed, and sends it again.
RETRIES = {"max_retries": "5", "retry_timeout": "20s"}

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
        # Younger than the others: a table of before gets it with its first append.
        pa.field("request_digest", pa.string()),
    ]
)
#: What tells of requests.
REQUESTS = ["version", "request_id", "request_digest", "written_at"]


@dataclass(frozen=True, slots=True)
class Change:
    """One write: an upsert carries the document, a deletion its id alone. `request_digest` stands
    for all that was asked for under the request id; empty: it is not known."""

    document_id: str
    document: Document | None
    request_id: str
    request_digest: str = ""

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


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows were erased or dropped; of the deletions among them the newest version, and
    when the oldest was made (Unix time); 0 if there was none."""

    rows: int
    deleted_upto: int
    deleted_at: float


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
        self._uri = str(store.root / FOLDER) if store.root else f"{store.url}/{FOLDER}"
        self._options = _storage_options(self._uri)
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
                schema_mode="merge",
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

    def writes(self, after: int, upto: int) -> list[Write]:
        """Rows of versions after < version ≤ upto without their texts, in order of versions."""
        columns = ["version", "op", "document_id", "title", "text"]
        rows = self._read([("version", ">", after), ("version", "<=", upto)], columns)
        rows = rows.filter(pc.not_equal(rows["op"], ERASED)).sort_by("version")
        sizes = pc.add(pc.utf8_length(rows["title"]), pc.utf8_length(rows["text"]))
        return [
            Write(document_id, version, characters or 0)
            for document_id, version, characters in zip(
                rows["document_id"].to_pylist(),
                rows["version"].to_pylist(),
                sizes.to_pylist(),
                strict=True,
            )
        ]

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

    def requests(self, most: int, after: int = 0) -> pa.Table:
        """The newest requests, `most` at the most, of versions > `after`: a row of `REQUESTS` each,
        oldest first. Holds no more than a few times as many in memory."""
        there = self._table.to_pyarrow_dataset()
        columns = [name for name in REQUESTS if name in there.schema.names]
        # A version holds one request at the least.
        recent = pc.field("version") > max(after, self.version - most)
        found = pa.schema([SCHEMA.field(name) for name in columns]).empty_table()
        for batch in there.to_batches(columns=columns, filter=recent):
            each = pa.Table.from_batches([batch]).group_by(columns).aggregate([])
            found = pa.concat_tables([found, each.select(columns).cast(found.schema)])
            if found.num_rows > 2 * most:
                found = _newest_requests(found, most)
        found = _newest_requests(found, most)
        if "request_digest" not in columns:
            found = found.append_column("request_digest", pa.nulls(found.num_rows, pa.string()))
        return found.select(REQUESTS)

    def written_at(self, version: int) -> float | None:
        """Unix time of a version's commit; None for a version without rows."""
        rows = self._read([("version", "=", version)], ["written_at"])
        return pc.min(rows["written_at"]).as_py() if rows.num_rows else None

    def deleted_before(self, moment: float) -> int:
        """The newest version in which a document was deleted before a Unix time; 0 if none was."""
        rows = self._read([("op", "=", "delete"), ("written_at", "<", moment)], ["version"])
        return pc.max(rows["version"]).as_py() or 0

    def oldest_deletion(self) -> float | None:
        """Unix time of the oldest deletion that the table still tells of; None: of none."""
        rows = self._read([("op", "=", "delete")], ["written_at"])
        return pc.min(rows["written_at"]).as_py() if rows.num_rows else None

    def forget(self, upto: int, requests_since: float, deletions_before: float) -> Forgotten:
        """Erases, of the rows up to a version, those that count no more at it: older states of
        documents, and the last trace of those deleted before a Unix time.

        Request ids of writes since a Unix time stay. What is erased is still in the old files
        until they are vacuumed.

        :raises Conflict: if another writer wrote meanwhile: do you still lead?
        :raises Corrupt: if the table is read differently twice; nothing is changed then.
        """
        marks = self._read([("version", "<=", upto)], MARKS)
        fates, forgotten = _fates(marks, requests_since, deletions_before)
        if not forgotten.rows:
            return forgotten
        # Texts are read, and files written again, of the versions alone that lose a row. A
        # predicate that named documents would be written into the table's log.
        versions = marks["version"]
        touched = sorted(pc.unique(versions.filter(pc.not_equal(fates, KEPT))).to_pylist())
        rows = self._read([("version", "in", touched)])
        among = pc.is_in(versions, value_set=pa.array(touched))
        if not rows.select(MARKS).equals(marks.filter(among)):
            raise Corrupt("two reads of one corpus version gave rows in another order")
        kept = _after(rows, fates.filter(among))
        self._commit(
            lambda properties: write_deltalake(
                self._table,
                kept,
                mode="overwrite",
                schema_mode="merge",
                predicate=f"version IN ({', '.join(map(str, touched))})",
                commit_properties=properties,
            )
        )
        return forgotten

    def compact(self) -> None:
        """Joins small files. :raises Conflict: as `forget` does."""
        self._commit(lambda properties: self._table.optimize.compact(commit_properties=properties))

    def vacuum(self, hours: int) -> int:
        """Deletes files that no version since so many hours ago has; returns how many."""
        # Files that somebody else added since are no waste. Then: the log names files for long
        # after they went; and each vacuum is a version.
        self._table.update_incremental()
        there = {path.rpartition("/")[2] for path in self._store.files(FOLDER)}
        old = {path.rpartition("/")[2] for path in self._vacuum(hours, dry_run=True)} & there
        if old:
            self._vacuum(hours, dry_run=False)
            self._table.update_incremental()
        return len(old)

    def _vacuum(self, hours: int, *, dry_run: bool) -> list[str]:
        return self._table.vacuum(
            hours, dry_run=dry_run, enforce_retention_duration=False, full=True
        )

    def trim_log(self) -> None:
        """A checkpoint, and the log's entries before it go when they are a day old."""
        self._table.create_checkpoint()
        self._table.cleanup_metadata()

    def _commit(self, write: Callable[[CommitProperties], object]) -> None:
        try:
            write(CommitProperties(max_commit_retries=0))
        except CommitFailedError as error:
            raise Conflict("the corpus was written by somebody else meanwhile") from error
        self._table.update_incremental()

    def _open_or_create(self) -> DeltaTable:
        try:
            return DeltaTable(self._uri, storage_options=self._options)
        except TableNotFoundError:
            try:
                return DeltaTable.create(
                    self._uri,
                    SCHEMA,
                    mode="error",
                    configuration=CONFIGURATION,
                    storage_options=self._options,
                    # Tried again it would be a version upon the one that another one made.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except Exception as error:  # deltalake raises DeltaError for a table just made
                try:
                    return DeltaTable(self._uri, storage_options=self._options)
                except TableNotFoundError:
                    raise error from None

    def _read(
        self, filters: list[tuple[str, str, object]], columns: list[str] | None = None
    ) -> pa.Table:
        return self._table.to_pyarrow_table(filters=filters, columns=columns)


def _storage_options(uri: str) -> dict[str, str] | None:
    """For a bucket: a commit is a conditional put there, and needs no lock table beside it."""
    if not uri.startswith("s3://"):
        return None
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return {
        "aws_conditional_put": "etag",
        **RETRIES,
        **({"aws_allow_http": "true"} if plain else {}),
    }


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
                "request_digest": change.request_digest or None,
            }
            for change in changes
        ],
        schema=SCHEMA,
    )


def _newest_requests(rows: pa.Table, most: int) -> pa.Table:
    """Each once, though its rows lie in several files."""
    once = rows.group_by(rows.column_names).aggregate([]).select(rows.column_names)
    ordered = once.sort_by([("version", "ascending")])
    return ordered.slice(max(0, ordered.num_rows - most))


def _fates(
    marks: pa.Table, requests_since: float, deletions_before: float
) -> tuple[pa.Array, Forgotten]:
    """What becomes of each row (KEPT, ERASED, DROPPED), and what that makes in all."""
    ops, documents = marks["op"].to_pylist(), marks["document_id"].to_pylist()
    versions, written = marks["version"].to_pylist(), marks["written_at"].to_pylist()
    newest: dict[str, int] = {}
    for row, (op, document_id) in enumerate(zip(ops, documents, strict=True)):
        before = newest.get(document_id)
        if op != ERASED and (before is None or versions[row] >= versions[before]):
            newest[document_id] = row
    gone = [r for r in newest.values() if ops[r] == "delete" and written[r] < deletions_before]
    states = set(newest.values()) - set(gone)
    fates = [
        KEPT if row in states or (op == ERASED and at >= requests_since)
        else ERASED if at >= requests_since
        else DROPPED
        for row, (op, at) in enumerate(zip(ops, written, strict=True))
    ]  # fmt: skip
    deleted_upto = max((versions[row] for row in gone), default=0)
    deleted_at = min((written[row] for row in gone), default=0.0)
    count = len(fates) - fates.count(KEPT)
    return pa.array(fates, pa.string()), Forgotten(count, deleted_upto, deleted_at)


def _after(rows: pa.Table, fates: pa.Array) -> pa.Table:
    """The rows as they are to be."""
    table = [
        _erased(row) if fate == ERASED else row
        for row, fate in zip(rows.to_pylist(), fates.to_pylist(), strict=True)
        if fate != DROPPED
    ]
    return pa.Table.from_pylist(table, schema=SCHEMA)


def _erased(row: dict[str, object]) -> dict[str, object]:
    nothing = {"document_id": "", "title": None, "text": None, "metadata": None, "bucket": 0}
    return {**row, **nothing, "op": ERASED}


def _newest(rows: pa.Table) -> Iterator[DocumentState]:
    """The last row of each document; within one version the later row wins."""
    rows = rows.filter(pc.not_equal(rows["op"], ERASED))
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

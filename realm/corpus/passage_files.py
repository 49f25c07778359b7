"""Passage files: the corpus at one version, cut and tokenised once, one file a shard.

Made from the files of the previous generation plus the documents changed since; a shard without
a change keeps its file, one without passages has none. A file is named by what it holds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from realm.corpus.documents import stable_bucket
from realm.corpus.passages import PASSAGE_SCHEMA, split_document, to_table
from realm.model.inputs import InputBuilder
from realm.records import arrow
from realm.records.store import Store

if TYPE_CHECKING:  # readers of passages need no table
    from realm.corpus.table import DocumentState

MAX_SHARDS = 512
#: A shard may take half or twice the wished time before the number of shards is changed.
HYSTERESIS_DOUBLINGS = 1.0

#: From passages and the present number of shards (None: no files yet) to the number wished.
CountShards = Callable[[int, int | None], int]


def shard_count(
    passages: int, rate: float, shard_seconds: float, current: int | None = None
) -> int:
    """How many shards: a power of two in [1, 512], `current` while that is near enough.

    :param rate: passages a second that one embedder does.
    """
    doublings = math.log2(max(1.0, passages / (rate * shard_seconds)))
    if current is not None and abs(doublings - math.log2(current)) <= HYSTERESIS_DOUBLINGS:
        return current
    return int(min(MAX_SHARDS, 2 ** round(doublings)))


def shard_of(path: str) -> tuple[int, int]:
    """The number of shards and the shard's index, from a passage file's path."""
    count, index = path.split("/")[-2].split("-")
    return int(count), int(index)


def cut(states: Iterable[DocumentState], inputs: InputBuilder) -> pa.Table:
    """The passages of those documents that exist, as a table of `PASSAGE_SCHEMA`."""
    return to_table(
        passage
        for state in states
        if state.document is not None
        for passage in split_document(state.document, state.version, inputs)
    )


def build_passage_files(
    store: Store,
    inputs: InputBuilder,
    base: Sequence[str],
    changed: Sequence[DocumentState],
    version: int,
    count_shards: CountShards,
) -> tuple[str, ...]:
    """Paths of the files that hold the corpus at `version`, in order of their shards.

    :param base: files of an earlier version, all of one layout; none to begin with.
    :param changed: documents changed since, deletions too, each in its state at `version`.
    :raises NotFound, Corrupt: if a file of `base` cannot be read.
    """
    fresh = cut(changed, inputs)
    gone = pa.array([state.document_id for state in changed], pa.string())
    current = shard_of(base[0])[0] if base else None
    rows = sum(arrow.read_table(store, path).num_rows for path in base)
    shards = count_shards(rows + fresh.num_rows, current)
    if shards != current:
        everything = _joined([*(_without(arrow.read_table(store, p), gone) for p in base), fresh])
        parts = _split(everything, shards)
        return _write_all(store, inputs.fingerprint, version, shards, parts)
    files = {shard_of(path)[1]: path for path in base}
    touched = {stable_bucket(state.document_id, shards) for state in changed}
    additions = _split(fresh, shards)
    for index in sorted(touched):
        old = files.pop(index, None)
        kept = [_without(arrow.read_table(store, old), gone)] if old else []
        table = _joined([*kept, *([additions[index]] if index in additions else [])])
        if table.num_rows:
            files[index] = _write(store, inputs.fingerprint, version, shards, index, table)
    return tuple(files[index] for index in sorted(files))


def content_name(table: pa.Table) -> str:
    """16 hexadecimal digits: equal for equal passages of equal document versions."""
    digest = hashlib.sha256()
    columns = (table["passage_id"], table["document_version"], table["content_hash"])
    for row in zip(*(column.to_pylist() for column in columns), strict=True):
        digest.update("{} {} {}\n".format(*row).encode())
    return digest.hexdigest()[:16]


def _joined(tables: list[pa.Table]) -> pa.Table:
    if not tables:
        return PASSAGE_SCHEMA.empty_table()
    bare = [table.replace_schema_metadata(None) for table in tables]
    # Files of earlier releases lack the last columns.
    ordered = pa.concat_tables(bare, promote_options="default").sort_by(
        [("document_id", "ascending"), ("ordinal", "ascending")]
    )
    return ordered.combine_chunks()


def _without(table: pa.Table, document_ids: pa.Array) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["document_id"], value_set=document_ids)))


def _split(table: pa.Table, shards: int) -> dict[int, pa.Table]:
    """The rows of each shard that has some."""
    buckets = pa.array(
        [stable_bucket(each, shards) for each in table["document_id"].to_pylist()], pa.int32()
    )
    return {
        index: table.filter(pc.equal(buckets, index)) for index in sorted(set(buckets.to_pylist()))
    }


def _write_all(
    store: Store, fingerprint: str, version: int, shards: int, parts: dict[int, pa.Table]
) -> tuple[str, ...]:
    return tuple(
        _write(store, fingerprint, version, shards, index, table) for index, table in parts.items()
    )


def _write(
    store: Store, fingerprint: str, version: int, shards: int, index: int, table: pa.Table
) -> str:
    path = f"passages/{fingerprint}/{shards:03d}-{index:03d}/{content_name(table)}.arrow"
    if not store.exists(path):
        about = {"corpus_version": str(version)}
        arrow.write_table(store, path, table.replace_schema_metadata(about))
    return path

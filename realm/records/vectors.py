"""Vector files: the vectors of one passage file by one snapshot, row by row.

The file's path follows from its inputs, so making it twice is making it once.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from realm.errors import Conflict, Corrupt
from realm.records import arrow
from realm.records.store import Store

Vectors = npt.NDArray[np.float32]
#: [0]: of a passage, and of a question, where there are words alone.
NO_VECTOR: Vectors = np.zeros(0, np.float32)


def vector_file(snapshot_name: str, passage_file: str) -> str:
    """`vectors/<snapshot>/<fingerprint>/<shard>/<content>.arrow`."""
    return f"vectors/{snapshot_name}/{passage_file.removeprefix('passages/')}"


def to_table(
    passage_ids: list[str], content_hashes: list[str], vectors: Vectors, about: dict[str, str]
) -> pa.Table:
    """`vectors` is [passages, size], and no column if the size is 0; `about` goes into the file's
    metadata.

    :raises Corrupt: if a vector holds NaN or infinity.
    """
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise Corrupt(f"the vector of passage {passage_ids[row]} is not finite")
    columns = {
        "passage_id": pa.array(passage_ids, pa.string()),
        "content_hash": pa.array(content_hashes, pa.string()),
    }
    if size := vectors.shape[1]:
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, size)
    return pa.table(columns, metadata=about)


def no_vectors(passages: int) -> Vectors:
    """What an index of words alone has of its passages: [passages, 0]."""
    return np.zeros((passages, *NO_VECTOR.shape), np.float32)


def matrix(table: pa.Table, name: str = "vector") -> Vectors:
    """The vectors of a table's column: [rows, size]; of size 0 if it has no such column."""
    if name not in table.column_names:
        return no_vectors(len(table))
    size = table.schema.field(name).type.list_size
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(-1, size)


def write_vectors(store: Store, path: str, table: pa.Table) -> None:
    """A file that is there stays: its name follows from its inputs, so it will do. It may be this
    very call's, if the answer was lost and it was sent again."""
    with suppress(Conflict):
        arrow.create_table(store, path, table)


def read_vectors(store: Store, path: str) -> pa.Table:
    """:raises NotFound, Corrupt:"""
    return arrow.read_table(store, path)

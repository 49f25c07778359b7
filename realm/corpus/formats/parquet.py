"""Parquet: a document a row. Columns that are no field of a document become metadata."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from realm.corpus.containers import Asked, Found, container
from realm.corpus.rows import from_values
from realm.errors import InvalidInput

#: Read at once.
ROWS = 256


@container(".parquet")
def read_parquet(file: BinaryIO, asked: Asked) -> Iterator[Found]:
    """:raises InvalidInput: if it is none, or pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("Parquet is read by pyarrow: pip install 'realm[datasets]'") from error
    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, partial(from_values, row, asked.columns)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"no Parquet that can be read: {error}") from error

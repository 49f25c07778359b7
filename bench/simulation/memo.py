"""What follows from a file's bytes alone is worked out once: processes of a schedule, and all
schedules that begin alike, read the same files again and again. Every read still goes through the
store, and may fail there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import IO, Any, TypeVar
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from realm.corpus import delta_log
from realm.records import arrow, json_records
from realm.records.store import Store

T = TypeVar("T")
#: More than a schedule has files of a kind.
KEPT = 1024
REAL_PARQUET = pq.ParquetFile


class Parquet:
    """`ParquetFile` of some bytes, whose row groups are decoded once."""

    def __init__(self, data: bytes) -> None:
        self._file = REAL_PARQUET(io.BytesIO(data), page_checksum_verification=True)
        self._groups: dict[int, pa.Table] = {}
        self._parts: dict[tuple[int, tuple[str, ...]], pa.Table] = {}
        self.num_row_groups = self._file.num_row_groups

    def read_row_group(self, group: int, columns: list[str]) -> pa.Table:
        part = group, tuple(columns)
        if part not in self._parts:
            if group not in self._groups:
                self._groups[group] = self._file.read_row_group(group, use_threads=False)
            rows = self._groups[group]
            names = [each for each in rows.column_names if each in columns]
            self._parts[part] = rows.select(names)
        return self._parts[part]

    def iter_batches(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for group in range(self.num_row_groups):
            yield from self.read_row_group(group, columns).to_batches(rows)

    def __enter__(self) -> Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        """Others read it too."""


@contextmanager
def remembering() -> Iterator[None]:
    """Tables, records and entries of the log are shared: none ever changes."""
    parquet, table = lru_cache(KEPT)(Parquet), lru_cache(KEPT)(arrow.from_bytes)
    entries = lru_cache(KEPT)(delta_log.entry_rows)

    def parquet_file(source: IO[bytes], **_: object) -> Parquet:
        return parquet(source.read())

    @lru_cache(KEPT)
    def record(kind: type[Any], data: bytes, path: str) -> Any:
        return json_records.as_record(kind, json_records.from_bytes(data, path), path)

    def read_record(self: Store, path: str, kind: type[T]) -> T:
        known: Any = kind
        found: T = record(known, self.read(path), path)
        return found

    with ExitStack() as stack:
        stack.enter_context(patch.object(pq, "ParquetFile", parquet_file))
        stack.enter_context(patch.object(arrow, "from_bytes", table))
        stack.enter_context(patch.object(delta_log, "entry_rows", entries))
        stack.enter_context(patch.object(Store, "read_record", read_record))
        yield

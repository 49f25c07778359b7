"""Data files of the corpus table: Parquet, each read by the parts that are needed.

Every page has a checksum; that of the footer is in the log. So a reader of a few columns finds
damage in what it reads, and no other. Files of earlier releases have neither, and are read as
they are.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from io import BytesIO
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from realm.errors import DamagedCorpus, DependencyUnavailable, NotFound
from realm.records.store import Store

FOLDER = "corpus"
#: Rows are written in pieces of at most so many, or so many bytes: each is read whole.
BATCH_ROWS = 10_000
BATCH_BYTES = 16 * 2**20

#: The key of the footer's checksum among the tags of a file in the log.
FOOTER = "realm.footer"
#: A smaller file is read at once: from an object store each of its parts costs as much.
WHOLE_BYTES = 2**20
#: At a Parquet file's end: the length of its footer in 4 bytes, and 4 that say it is one.
TAIL = 8

Filter = tuple[str, str, Any]
COMPARE = {
    "=": pc.equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    "in": lambda column, values: pc.is_in(column, value_set=pa.array(values, column.type)),
}
#: The same of two numbers.
BOUND = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A part of the table; `lowest` and `highest` are the bounds of some columns in it."""

    name: str
    size: int
    lowest: dict[str, float]
    highest: dict[str, float]
    action: dict[str, Any]

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.name}"

    @property
    def rows(self) -> int:
        """As the log tells; 0 if it does not."""
        return int(json.loads(self.action.get("stats") or "{}").get("numRecords", 0))


def read_rows(store: Store, file: DataFile, filters: list[Filter], schema: pa.Schema) -> pa.Table:
    """The rows that pass, in some columns; other columns are read only where a row passes."""
    found: list[pa.Table] = []
    filters = [each for each in filters if not all_pass(file, each)]
    asked = sorted({column for column, _, _ in filters})
    with _parquet(store, file) as parquet:
        for group in range(parquet.num_row_groups):
            passing = _passing(parquet.read_row_group(group, asked), filters) if asked else None
            if passing is not None and not pc.any(passing).as_py():
                continue
            rows = _whole(parquet.read_row_group(group, schema.names), schema)
            found.append(rows if passing is None else rows.filter(passing))
    return joined(found, schema)


def joined(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table of several of a schema, or of none."""
    return pa.concat_tables(tables) if tables else schema.empty_table()


def batches(store: Store, file: DataFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with _parquet(store, file) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=schema.names):
            yield from _whole(pa.Table.from_batches([batch]), schema).to_batches()


def _whole(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """With the columns that are younger than the file, without those that are not asked for."""
    if rows.schema.equals(schema):
        return rows
    for name in set(schema.names) - set(rows.schema.names):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
    return rows.select(schema.names).cast(schema)


@contextmanager
def _parquet(store: Store, file: DataFile) -> Iterator[pq.ParquetFile]:
    """:raises NotFound: if it is not there. :raises DamagedCorpus: if it is damaged."""
    try:
        small = file.size <= WHOLE_BYTES
        with BytesIO(store.read(file.path)) if small else store.open_file(file.path) as source:
            wanted = (file.action.get("tags") or {}).get(FOOTER)
            if wanted is not None and footer_checksum(source) != wanted:
                raise DamagedCorpus(
                    f"{file.path} is damaged: its footer is another", file=file.path
                )
            with pq.ParquetFile(source, page_checksum_verification=True) as parquet:
                yield parquet
    except FileNotFoundError as error:
        raise NotFound(f"{file.path} is not there any more", file=file.path) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow says what it finds wrong by a plain OSError too; what the system says has a number.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise DependencyUnavailable(f"{file.path} cannot be read: {error}") from error
        raise DamagedCorpus(f"{file.path} is damaged: {error}", file=file.path) from error


def footer_checksum(source: IO[bytes]) -> str:
    """Of what says where in a Parquet file everything lies; of nothing if it says that wrong."""
    size = source.seek(0, os.SEEK_END)
    source.seek(max(0, size - TAIL))
    tail = source.read(TAIL)
    length = int.from_bytes(tail[:4], "little") + TAIL
    source.seek(max(0, size - length))
    footer = source.read(length) if length <= size else b""
    source.seek(0)
    return f"sha256:{hashlib.sha256(footer).hexdigest()}"


def may_contain(file: DataFile, filters: list[Filter]) -> bool:
    """Whether a row that passes may be in the file, by the bounds that the log tells."""
    for column, compare, value in filters:
        if column not in file.lowest or column not in file.highest or compare == "in":
            continue
        # Of a row somewhere between the bounds, that which passes most easily.
        best = file.highest if compare in (">", ">=") else file.lowest
        if compare == "=":
            possible = file.lowest[column] <= value <= file.highest[column]
        else:
            possible = BOUND[compare](best[column], value)
        if not possible:
            return False
    return True


def all_pass(file: DataFile, given: Filter) -> bool:
    """Whether every row of the file is known to pass, by the bounds that the log tells. Those of
    text and fractions may be rounded: they prove nothing."""
    column, compare, value = given
    lowest, highest = file.lowest.get(column), file.highest.get(column)
    if not isinstance(lowest, int) or not isinstance(highest, int) or compare == "in":
        return False
    if compare == "=":
        return bool(lowest == value == highest)
    return bool(BOUND[compare](lowest if compare in (">", ">=") else highest, value))


def _passing(keys: pa.Table, filters: list[Filter]) -> pa.ChunkedArray:
    passing = (COMPARE[compare](keys[column], value) for column, compare, value in filters)
    return reduce(pc.and_, passing)


def coalesced(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer pieces: each is read whole."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= BATCH_ROWS or size >= BATCH_BYTES:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held, rows, size = [], 0, 0
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()

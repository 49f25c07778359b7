"""Checkpoints of a Delta log, as its protocol describes them: the state of one version."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from realm.errors import Corrupt

Action = dict[str, Any]

TEXTS = pa.map_(pa.string(), pa.string())
FILE = [
    pa.field("path", pa.string(), nullable=False),
    pa.field("partitionValues", TEXTS),
    pa.field("size", pa.int64()),
    pa.field("dataChange", pa.bool_(), nullable=False),
]
SCHEMA = pa.schema(
    [
        pa.field("txn", pa.struct({"appId": pa.string(), "version": pa.int64()})),
        pa.field(
            "add",
            pa.struct(
                [
                    *FILE,
                    pa.field("modificationTime", pa.int64(), nullable=False),
                    pa.field("stats", pa.string()),
                ]
            ),
        ),
        pa.field(
            "remove",
            pa.struct(
                [
                    *FILE,
                    pa.field("deletionTimestamp", pa.int64()),
                    pa.field("extendedFileMetadata", pa.bool_()),
                ]
            ),
        ),
        pa.field(
            "metaData",
            pa.struct(
                {
                    "id": pa.string(),
                    "name": pa.string(),
                    "description": pa.string(),
                    "format": pa.struct({"provider": pa.string(), "options": TEXTS}),
                    "schemaString": pa.string(),
                    "partitionColumns": pa.list_(pa.string()),
                    "createdTime": pa.int64(),
                    "configuration": TEXTS,
                }
            ),
        ),
        pa.field(
            "protocol",
            pa.struct({"minReaderVersion": pa.int32(), "minWriterVersion": pa.int32()}),
        ),
    ]
)
KINDS = tuple(SCHEMA.names)


def checkpoint_bytes(
    protocol: Action, metadata: Action, files: Iterable[Action], removed: Iterable[Action]
) -> bytes:
    rows: list[Action] = [{"protocol": protocol}, {"metaData": metadata}]
    rows += [{"add": each} for each in files]
    rows += [{"remove": each} for each in removed]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink)
    return sink.getvalue()


def checkpoint_rows(data: bytes) -> list[Action]:
    """Its actions, as the log's entries have them.

    :raises Corrupt: if it cannot be read.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
        rows = table.select([name for name in table.column_names if name in KINDS]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(f"a checkpoint of the corpus is damaged: {error}") from error
    return [_without_maps(row) for row in rows]


def _without_maps(row: Action) -> Action:
    """Arrow gives maps as lists of pairs."""
    found: Action = {}
    for kind, value in row.items():
        if value is None:
            continue
        plain = {key: each for key, each in value.items() if each is not None}
        for key in ("partitionValues", "configuration"):
            if key in plain:
                plain[key] = dict(plain[key])
        if "format" in plain:
            plain["format"] = {**plain["format"], "options": dict(plain["format"]["options"] or [])}
        found[kind] = plain
    return found

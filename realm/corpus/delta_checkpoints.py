"""Checkpoints of a Delta log, as its protocol describes them: the state of one version.

Beside its rows each holds their checksum; one of an earlier release holds none.
"""

from __future__ import annotations

import hashlib
import io
import json
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
    pa.field("tags", TEXTS),
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
CHECKSUM = b"realm.checksum"


def checkpoint_bytes(
    protocol: Action, metadata: Action, files: Iterable[Action], removed: Iterable[Action]
) -> bytes:
    rows: list[Action] = [{"protocol": protocol}, {"metaData": metadata}]
    rows += [{"add": each} for each in files]
    rows += [{"remove": each} for each in removed]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({CHECKSUM: _checksum(table)}), sink)
    return sink.getvalue()


def checkpoint_rows(data: bytes) -> list[Action]:
    """Its actions, as the log's entries have them.

    :raises Corrupt: if it cannot be read.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
        table = table.select([name for name in table.column_names if name in KINDS])
        checksum = (table.schema.metadata or {}).get(CHECKSUM)
        if checksum is not None and checksum != _checksum(table):
            raise Corrupt("a checkpoint of the corpus is damaged: its checksum differs")
        return [_without_maps(row) for row in table.to_pylist()]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Corrupt(f"a checkpoint of the corpus is damaged: {error}") from error


def _checksum(table: pa.Table) -> bytes:
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
    return digest.hexdigest().encode()


def _without_maps(row: Action) -> Action:
    """Arrow gives maps as lists of pairs."""
    found: Action = {}
    for kind, value in row.items():
        if value is None:
            continue
        plain = {key: each for key, each in value.items() if each is not None}
        for key in ("partitionValues", "configuration", "tags"):
            if key in plain:
                plain[key] = dict(plain[key])
        if "format" in plain:
            plain["format"] = {**plain["format"], "options": dict(plain["format"]["options"] or [])}
        found[kind] = plain
    return found

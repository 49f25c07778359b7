"""A collection's configuration as Qdrant keeps and reports it; no engine needed."""

from __future__ import annotations

from typing import Any

from realm.errors import Unsupported
from services.standalone.qdrant_edge.protocol import collections


def given(message: Any, *fields: str) -> dict[str, Any]:
    """The fields of an optional-rich message that its sender set."""
    return {field: getattr(message, field) for field in fields if message.HasField(field)}


def merge_update(
    config: collections.CreateCollection, update: collections.UpdateCollection
) -> collections.CreateCollection:
    """The configuration after an update: given fields win.

    :raises Unsupported: for changes of vector or quantization parameters.
    """
    for field in ("vectors_config", "quantization_config", "sparse_vectors_config"):
        if update.HasField(field):
            raise Unsupported(f"Updating {field} is not covered; create a new collection")
    merged = collections.CreateCollection()
    merged.CopyFrom(config)
    # an empty one asks to optimize and changes nothing
    if update.optimizers_config.ByteSize():
        merged.optimizers_config.MergeFrom(update.optimizers_config)
    if update.hnsw_config.ByteSize():
        merged.hnsw_config.MergeFrom(update.hnsw_config)
    for field, value in given(
        update.params, "replication_factor", "write_consistency_factor", "on_disk_payload"
    ).items():
        setattr(merged, field, value)
    return merged


def describe(config: collections.CreateCollection) -> collections.CollectionConfig:
    """As `get_collection` reports it: Qdrant's defaults with what was asked for on top."""
    described = collections.CollectionConfig(
        params=collections.CollectionParams(
            shard_number=1,
            on_disk_payload=config.on_disk_payload,
            vectors_config=config.vectors_config,
            replication_factor=config.replication_factor or 1,
            write_consistency_factor=config.write_consistency_factor or 1,
        ),
        hnsw_config=collections.HnswConfigDiff(
            m=16, ef_construct=100, full_scan_threshold=10_000, max_indexing_threads=0
        ),
        optimizer_config=collections.OptimizersConfigDiff(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=0,
            flush_interval_sec=5,
        ),
        wal_config=collections.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
    )
    if config.HasField("sparse_vectors_config"):
        described.params.sparse_vectors_config.CopyFrom(config.sparse_vectors_config)
    described.hnsw_config.MergeFrom(config.hnsw_config)
    described.optimizer_config.MergeFrom(config.optimizers_config)
    for key, value in config.metadata.items():
        described.metadata[key].CopyFrom(value)
    return described

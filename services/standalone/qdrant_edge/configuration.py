"""A collection's configuration: from what `create_collection` asked to Qdrant Edge's terms."""

from __future__ import annotations

import qdrant_edge as edge

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.description import given
from services.standalone.qdrant_edge.protocol import collections
from services.standalone.qdrant_edge.values import DEFAULT_VECTOR

DISTANCES = {
    collections.Dot: edge.Distance.Dot,
    collections.Cosine: edge.Distance.Cosine,
    collections.Euclid: edge.Distance.Euclid,
    collections.Manhattan: edge.Distance.Manhattan,
}
DATATYPES = {
    collections.Default: None,
    collections.Float32: edge.VectorStorageDatatype.Float32,
    collections.Float16: edge.VectorStorageDatatype.Float16,
    collections.Uint8: edge.VectorStorageDatatype.Uint8,
}


def read_config(source: collections.CreateCollection) -> edge.EdgeConfig:
    """:raises InvalidInput: for a vector without size or distance.
    :raises Unsupported: for quantization and multi-vectors.
    """
    if source.HasField("quantization_config"):
        raise Unsupported("quantization_config is not covered; vectors are kept as they are")
    dense = dense_vectors(source)
    sparse = source.sparse_vectors_config.map
    return edge.EdgeConfig(
        vectors={name: read_dense(name, params) for name, params in dense.items()},
        sparse_vectors={name: read_sparse_params(params) for name, params in sparse.items()},
        hnsw_config=read_hnsw(source.hnsw_config) if source.HasField("hnsw_config") else None,
        optimizers=read_optimizers(source.optimizers_config),
        on_disk_payload=source.on_disk_payload if source.HasField("on_disk_payload") else None,
    )


def dense_vectors(source: collections.CreateCollection) -> dict[str, collections.VectorParams]:
    if source.vectors_config.WhichOneof("config") == "params":
        return {DEFAULT_VECTOR: source.vectors_config.params}
    return dict(source.vectors_config.params_map.map)


def read_dense(name: str, params: collections.VectorParams) -> edge.EdgeVectorParams:
    if params.HasField("quantization_config") or params.HasField("multivector_config"):
        raise Unsupported(f"Vector {name!r}: quantization and multi-vectors are not covered")
    if params.datatype not in DATATYPES:
        raise Unsupported(f"Vector {name!r}: this datatype is not covered; use float32 or float16")
    if params.size < 1 or params.distance not in DISTANCES:
        raise InvalidInput(f"Vector {name!r} needs a size of at least 1 and a distance")
    return edge.EdgeVectorParams(
        params.size,
        DISTANCES[params.distance],
        on_disk=params.on_disk if params.HasField("on_disk") else None,
        datatype=DATATYPES[params.datatype],
        hnsw_config=read_hnsw(params.hnsw_config) if params.HasField("hnsw_config") else None,
    )


def read_sparse_params(params: collections.SparseVectorParams) -> edge.EdgeSparseVectorParams:
    return edge.EdgeSparseVectorParams(
        modifier=edge.Modifier.Idf if params.modifier == collections.Idf else None,
        **given(params.index, "full_scan_threshold", "on_disk"),
    )


def read_hnsw(diff: collections.HnswConfigDiff) -> edge.HnswIndexConfig:
    asked = given(
        diff, "m", "ef_construct", "full_scan_threshold", "max_indexing_threads", "on_disk",
        "payload_m",
    )  # fmt: skip
    # Qdrant's defaults, which Edge wants spelled out
    return edge.HnswIndexConfig(
        **{"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000} | asked
    )


def read_optimizers(diff: collections.OptimizersConfigDiff) -> edge.EdgeOptimizersConfig:
    return edge.EdgeOptimizersConfig(
        **given(
            diff, "deleted_threshold", "vacuum_min_vector_number", "default_segment_number",
            "max_segment_size", "indexing_threshold",
        )
    )  # fmt: skip

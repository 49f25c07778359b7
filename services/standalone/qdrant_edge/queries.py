"""Reading requests: Qdrant's protobuf queries to Qdrant Edge."""

from __future__ import annotations

from typing import cast

import qdrant_edge as edge

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.filters import read_filter
from services.standalone.qdrant_edge.protocol import points
from services.standalone.qdrant_edge.values import read_sparse

#: Qdrant's own defaults.
DEFAULT_LIMIT = 10
RRF_K = 2


def read_query(source: points.QueryPoints) -> edge.QueryRequest:
    """:raises Unsupported: for queries other than nearest, fusion, order_by, sample."""
    refuse_lookup(source)
    return edge.QueryRequest(
        limit=read_limit(source),
        offset=source.offset,
        query=read_scoring(source),
        prefetches=[read_prefetch(prefetch) for prefetch in source.prefetch] or None,
        filter=read_filter(source.filter) if source.HasField("filter") else None,
        score_threshold=source.score_threshold if source.HasField("score_threshold") else None,
        params=read_params(source.params) if source.HasField("params") else None,
        with_payload=read_payload_choice(source.with_payload),
        with_vector=read_vector_choice(source.with_vectors),
    )


def read_prefetch(source: points.PrefetchQuery) -> edge.Prefetch:
    refuse_lookup(source)
    return edge.Prefetch(
        limit=read_limit(source),
        query=read_scoring(source),
        prefetches=[read_prefetch(prefetch) for prefetch in source.prefetch] or None,
        filter=read_filter(source.filter) if source.HasField("filter") else None,
        score_threshold=source.score_threshold if source.HasField("score_threshold") else None,
        params=read_params(source.params) if source.HasField("params") else None,
    )


def read_scoring(source: points.QueryPoints | points.PrefetchQuery) -> edge.ScoringQueryType | None:
    if not source.HasField("query"):
        return None
    query = source.query
    match query.WhichOneof("variant"):
        case "nearest":
            return edge.Query.Nearest(read_target(query.nearest), using=source.using)
        case "fusion":
            dbsf = query.fusion == points.DBSF
            return as_fusion(edge.Fusion.Dbsf() if dbsf else edge.Fusion.Rrf(k=RRF_K))
        case "rrf":
            k = query.rrf.k if query.rrf.HasField("k") else RRF_K
            return as_fusion(edge.Fusion.Rrf(k=k, weights=list(query.rrf.weights) or None))
        case "order_by":
            return read_order(query.order_by)
        case "sample":
            return edge.Sample.Random
        case other:
            raise Unsupported(f"Queries of kind {other!r} are not covered; use nearest or fusion")


def as_fusion(fusion: edge.Fusion.Rrf | edge.Fusion.Dbsf) -> edge.Fusion:
    """Edge's stubs do not say that these are fusions; its engine does."""
    return cast(edge.Fusion, fusion)


def read_target(target: points.VectorInput) -> list[float] | edge.SparseVector:
    match target.WhichOneof("variant"):
        case "dense":
            return list(target.dense.data)
        case "sparse":
            return read_sparse(list(target.sparse.indices), list(target.sparse.values))
        case other:
            raise Unsupported(f"Searching by {other!r} is not covered; give the vector itself")


def read_order(order: points.OrderBy) -> edge.OrderBy:
    start = order.start_from
    kind = start.WhichOneof("value")
    if kind in ("timestamp", "datetime"):
        raise Unsupported("order_by with a start_from moment is not covered; use a number")
    return edge.OrderBy(
        order.key,
        direction=edge.Direction.Desc if order.direction == points.Desc else edge.Direction.Asc,
        start_from=getattr(start, kind) if kind else None,
    )


def read_params(params: points.SearchParams) -> edge.SearchParams:
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef if params.HasField("hnsw_ef") else None,
        exact=params.exact,
        indexed_only=params.indexed_only,
    )


def read_limit(source: points.QueryPoints | points.PrefetchQuery | points.ScrollPoints) -> int:
    if not source.HasField("limit"):
        return DEFAULT_LIMIT
    if source.limit < 1:
        raise InvalidInput("limit is 0; ask for at least one point")
    return source.limit


def read_payload_choice(choice: points.WithPayloadSelector) -> edge.WithPayloadType:
    match choice.WhichOneof("selector_options"):
        case "include":
            return list(choice.include.fields)
        case "exclude":
            return edge.PayloadSelector.Exclude(list(choice.exclude.fields))
        case _:
            return choice.enable


def read_vector_choice(choice: points.WithVectorsSelector) -> edge.WithVectorType:
    if choice.WhichOneof("selector_options") == "include":
        return list(choice.include.names)
    return choice.enable


def refuse_lookup(source: points.QueryPoints | points.PrefetchQuery) -> None:
    if source.HasField("lookup_from"):
        raise Unsupported("lookup_from is not covered; give the vector itself")

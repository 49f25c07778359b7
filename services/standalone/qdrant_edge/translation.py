"""Protobuf on one side, Qdrant Edge on the other: points, configurations, queries and filters.

It covers what this project calls. A request that sets any other field is refused, never half
served.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

import qdrant_edge as edge
from google.protobuf.message import Message

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.protocol import collections, common, json_values, points

#: Qdrant's own defaults.
DEFAULT_LIMIT = 10
RRF_K = 2


def read_id(point_id: common.PointId) -> edge.PointId:
    """:raises InvalidInput: if it is neither a number nor a UUID."""
    match point_id.WhichOneof("point_id_options"):
        case "num":
            return point_id.num
        case "uuid":
            try:
                return str(UUID(point_id.uuid))
            except ValueError:
                raise InvalidInput(
                    f"Point id {point_id.uuid!r} is neither a number nor a UUID"
                ) from None
        case _:
            raise InvalidInput("A point id is empty; give a number or a UUID")


def write_id(target: common.PointId, point_id: edge.PointId) -> None:
    if isinstance(point_id, int):
        target.num = point_id
    else:
        target.uuid = str(point_id)


def read_value(value: json_values.Value) -> Any:
    match kind := value.WhichOneof("kind"):
        case "string_value" | "integer_value" | "double_value" | "bool_value":
            return getattr(value, kind)
        case "list_value":
            return [read_value(item) for item in value.list_value.values]
        case "struct_value":
            return {key: read_value(item) for key, item in value.struct_value.fields.items()}
        case _:
            return None


def write_value(target: json_values.Value, value: Any) -> None:
    # bool before int: Python counts True as an integer
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.integer_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            write_value(target.list_value.values.add(), item)
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        for key, item in value.items():
            write_value(target.struct_value.fields[key], item)
    else:
        target.null_value = json_values.NULL_VALUE


def read_sparse(vector: points.SparseVector) -> edge.SparseVector:
    """:raises InvalidInput: if the lengths differ or an index occurs twice."""
    indices, values = list(vector.indices), list(vector.values)
    if len(indices) != len(values):
        raise InvalidInput(
            f"A sparse vector has {len(indices)} indices and {len(values)} values; give as many"
        )
    if len(set(indices)) != len(indices):
        raise InvalidInput("A sparse vector names an index twice; indices must be unique")
    return edge.SparseVector(indices, values)


def read_vectors(vectors: points.Vectors) -> dict[str, edge.NamedVector]:
    """By name.

    :raises Unsupported: for a vector without a name, or neither dense nor sparse.
    """
    if vectors.WhichOneof("vectors_options") == "vector":
        raise Unsupported("A vector without a name is not covered here")
    return {name: _read_vector(vector) for name, vector in vectors.vectors.vectors.items()}


def _read_vector(vector: points.Vector) -> edge.NamedVector:
    match vector.WhichOneof("vector"):
        case "dense":
            return list(vector.dense.data)
        case "sparse":
            return read_sparse(vector.sparse)
        case other:
            raise Unsupported(f"Vectors of kind {other!r} are not covered here")


def write_record(
    target: points.ScoredPoint | points.RetrievedPoint, record: edge.ScoredPoint | edge.Record
) -> None:
    """The fields that a found and a retrieved point share."""
    write_id(target.id, record.id)
    for key, value in (record.payload or {}).items():
        write_value(target.payload[key], value)
    vectors: Any = record.vector
    if vectors is None:
        return
    # Of a point that lacks the vectors asked for, clients expect an empty mapping.
    target.vectors.vectors.SetInParent()
    for name, vector in vectors.items():
        output = target.vectors.vectors.vectors[name]
        if isinstance(vector, edge.SparseVector):
            output.sparse.indices.extend(vector.indices)
            output.sparse.values.extend(vector.values)
        else:
            output.dense.data.extend(vector)


def allow_only(message: Message, *fields: str) -> None:
    """:raises Unsupported: naming a field that is set and not among these."""
    for field, _ in message.ListFields():
        if field.name not in fields:
            raise Unsupported(f"{field.name} of {message.DESCRIPTOR.name} is not covered here")


def read_config(source: collections.CreateCollection) -> edge.EdgeConfig:
    """:raises InvalidInput: for a vector without a size.
    :raises Unsupported: for anything but named vectors, with Dot as their distance.
    """
    fields = ("collection_name", "vectors_config", "sparse_vectors_config", "timeout")
    allow_only(source, *fields, *(["shard_number"] if source.shard_number == 1 else []))
    allow_only(source.vectors_config, "params_map")
    sparse = source.sparse_vectors_config.map
    return edge.EdgeConfig(
        vectors={name: _read_dense(name, each) for name, each in dense_vectors(source).items()},
        sparse_vectors={name: _read_sparse_params(each) for name, each in sparse.items()},
        optimizers=edge.EdgeOptimizersConfig(),
    )


def dense_vectors(source: collections.CreateCollection) -> dict[str, collections.VectorParams]:
    return dict(source.vectors_config.params_map.map)


def _read_dense(name: str, params: collections.VectorParams) -> edge.EdgeVectorParams:
    allow_only(params, "size", "distance")
    if params.distance != collections.Dot:
        raise Unsupported(f"Vector {name!r}: only the distance Dot is covered")
    if params.size < 1:
        raise InvalidInput(f"Vector {name!r} needs a size of at least 1")
    return edge.EdgeVectorParams(params.size, edge.Distance.Dot)


def _read_sparse_params(params: collections.SparseVectorParams) -> edge.EdgeSparseVectorParams:
    allow_only(params, "modifier")
    idf = params.modifier == collections.Idf
    return edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if idf else None)


def read_query(source: points.QueryPoints) -> edge.QueryRequest:
    """One without a query asks for points by a filter alone.

    :raises Unsupported: for queries other than the nearest, reciprocal rank fusion, and weighted
        sums of scores.
    """
    allow_only(
        source,
        *("collection_name", "query", "prefetch", "using", "limit", "with_payload"),
        *("with_vectors", "timeout", "filter"),
    )
    return edge.QueryRequest(
        limit=read_limit(source),
        query=_read_scoring(source) if source.HasField("query") else None,
        prefetches=[_read_prefetch(prefetch) for prefetch in source.prefetch] or None,
        with_payload=read_payload_choice(source.with_payload),
        with_vector=read_vector_choice(source.with_vectors),
        filter=_read_passing(source),
    )


def _read_prefetch(source: points.PrefetchQuery) -> edge.Prefetch:
    allow_only(source, "query", "prefetch", "using", "limit", "filter")
    return edge.Prefetch(
        limit=read_limit(source),
        query=_read_scoring(source),
        prefetches=[_read_prefetch(prefetch) for prefetch in source.prefetch] or None,
        filter=_read_passing(source),
    )


def _read_passing(source: points.QueryPoints | points.PrefetchQuery) -> edge.Filter | None:
    return read_filter(source.filter) if source.HasField("filter") else None


def _read_scoring(
    source: points.QueryPoints | points.PrefetchQuery,
) -> edge.ScoringQueryType | None:
    query = source.query
    allow_only(query, "nearest", "rrf", "formula")
    match query.WhichOneof("variant"):
        case "nearest":
            return edge.Query.Nearest(_read_target(query.nearest), using=source.using)
        case "rrf":
            allow_only(query.rrf, "k")
            # Edge's stubs do not say that this is a fusion; its engine does.
            k = query.rrf.k if query.rrf.HasField("k") else RRF_K
            return cast(edge.Fusion, edge.Fusion.Rrf(k=k))
        case "formula":
            defaults = {name: read_value(each) for name, each in query.formula.defaults.items()}
            return edge.Formula(_read_expression(query.formula.expression), defaults)
        case _:
            raise InvalidInput("A query is empty; give a vector, a fusion or a formula")


def _read_expression(source: points.Expression) -> edge.Expression:
    allow_only(source, "constant", "variable", "mult", "sum")
    match source.WhichOneof("variant"):
        case "constant":
            return edge.Expression.Constant(source.constant)
        case "variable":
            return edge.Expression.Variable(source.variable)
        case "mult":
            return edge.Expression.Mult([_read_expression(each) for each in source.mult.mult])
        case "sum":
            return edge.Expression.Sum([_read_expression(each) for each in source.sum.sum])
        case _:
            raise InvalidInput("An expression is empty; give a number, a name, a product or a sum")


def _read_target(target: points.VectorInput) -> list[float] | edge.SparseVector:
    allow_only(target, "dense", "sparse")
    if target.WhichOneof("variant") == "dense":
        return list(target.dense.data)
    return read_sparse(target.sparse)


def read_limit(source: points.QueryPoints | points.PrefetchQuery | points.ScrollPoints) -> int:
    if not source.HasField("limit"):
        return DEFAULT_LIMIT
    if source.limit < 1:
        raise InvalidInput("limit is 0; ask for at least one point")
    return source.limit


def read_payload_choice(choice: points.WithPayloadSelector) -> edge.WithPayloadType:
    allow_only(choice, "enable", "include")
    if choice.WhichOneof("selector_options") == "include":
        return list(choice.include.fields)
    return choice.enable


def read_vector_choice(choice: points.WithVectorsSelector) -> edge.WithVectorType:
    if choice.WhichOneof("selector_options") == "include":
        return list(choice.include.names)
    return choice.enable


def read_filter(source: common.Filter) -> edge.Filter:
    """:raises Unsupported: for conditions on anything but fields."""
    allow_only(source, "must", "should", "must_not")
    # Edge, like Qdrant, takes an empty clause for an absent one.
    return edge.Filter(
        must=[_read_condition(each) for each in source.must] or None,
        should=[_read_condition(each) for each in source.should] or None,
        must_not=[_read_condition(each) for each in source.must_not] or None,
    )


def _read_condition(
    condition: common.Condition,
) -> edge.FieldCondition | edge.HasIdCondition | edge.IsEmptyCondition | edge.Filter:
    allow_only(condition, "field", "is_empty", "filter", "has_id")
    match condition.WhichOneof("condition_one_of"):
        case "has_id":
            return edge.HasIdCondition(set(read_ids(condition.has_id.has_id)))
        case "filter":
            return read_filter(condition.filter)
        case "is_empty":
            return edge.IsEmptyCondition(condition.is_empty.key)
    field = condition.field
    allow_only(field, "key", "match", "range")
    return edge.FieldCondition(
        field.key,
        match=_read_match(field.match) if field.HasField("match") else None,
        range=_read_range(field.range) if field.HasField("range") else None,
    )


def _read_match(match: common.Match) -> edge.MatchType:
    allow_only(match, "keyword", "keywords")
    if match.WhichOneof("match_value") == "keywords":
        return edge.MatchAny(list(match.keywords.strings))
    return edge.MatchValue(match.keyword)


def _read_range(source: common.Range) -> edge.RangeFloat:
    return edge.RangeFloat(**{bound.name: value for bound, value in source.ListFields()})


def read_ids(ids: Iterable[common.PointId]) -> list[edge.PointId]:
    return [read_id(point_id) for point_id in ids]

"""Filters: Qdrant's protobuf to Qdrant Edge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import qdrant_edge as edge

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.protocol import common
from services.standalone.qdrant_edge.values import read_id

BOUNDS = ("lt", "gt", "lte", "gte")


def read_filter(source: common.Filter) -> edge.Filter:
    """:raises Unsupported: for geographic and slice conditions."""
    return edge.Filter(
        must=read_conditions(source.must),
        should=read_conditions(source.should),
        must_not=read_conditions(source.must_not),
        min_should=(
            edge.MinShould(
                read_conditions(source.min_should.conditions) or [], source.min_should.min_count
            )
            if source.HasField("min_should")
            else None
        ),
    )


def read_conditions(conditions: Iterable[common.Condition]) -> list[edge.ConditionType] | None:
    # Edge, like Qdrant, takes an empty clause for an absent one
    return [read_condition(condition) for condition in conditions] or None


def read_condition(condition: common.Condition) -> edge.ConditionType:
    match condition.WhichOneof("condition_one_of"):
        case "field":
            return read_field(condition.field)
        case "has_id":
            return edge.HasIdCondition({read_id(point_id) for point_id in condition.has_id.has_id})
        case "filter":
            return read_filter(condition.filter)
        case "is_empty":
            return edge.IsEmptyCondition(condition.is_empty.key)
        case "is_null":
            return edge.IsNullCondition(condition.is_null.key)
        case "nested":
            return edge.NestedCondition(condition.nested.key, read_filter(condition.nested.filter))
        case "has_vector":
            return edge.HasVectorCondition(condition.has_vector.has_vector)
        case None:
            raise InvalidInput("A filter holds an empty condition; remove it")
        case other:
            raise Unsupported(f"Filter conditions of kind {other!r} are not covered")


def read_field(field: common.FieldCondition) -> edge.FieldCondition:
    for geographic in ("geo_bounding_box", "geo_radius", "geo_polygon"):
        if field.HasField(geographic):
            raise Unsupported(f"Filter conditions of kind {geographic!r} are not covered")
    return edge.FieldCondition(
        field.key,
        match=read_match(field.match) if field.HasField("match") else None,
        range=read_range(field),
        values_count=(
            edge.ValuesCount(**read_bounds(field.values_count))
            if field.HasField("values_count")
            else None
        ),
        is_empty=field.is_empty if field.HasField("is_empty") else None,
        is_null=field.is_null if field.HasField("is_null") else None,
    )


def read_match(match: common.Match) -> edge.MatchType:
    kind = match.WhichOneof("match_value")
    match kind:
        case "keyword" | "integer" | "boolean":
            return edge.MatchValue(getattr(match, kind))
        case "keywords":
            return edge.MatchAny(list(match.keywords.strings))
        case "integers":
            return edge.MatchAny(list(match.integers.integers))
        case "except_keywords":
            return edge.MatchExcept(list(match.except_keywords.strings))
        case "except_integers":
            return edge.MatchExcept(list(match.except_integers.integers))
        case "text":
            return edge.MatchText(match.text)
        case "text_any":
            return edge.MatchTextAny(match.text_any)
        case "phrase":
            return edge.MatchPhrase(match.phrase)
        case "prefix":
            return edge.MatchPrefix(match.prefix)
        case "substring":
            return edge.MatchSubstring(match.substring)
        case _:
            raise InvalidInput("A filter's match is empty; say what to match")


def read_range(field: common.FieldCondition) -> edge.RangeType | None:
    if field.HasField("range"):
        return edge.RangeFloat(**read_bounds(field.range))
    if field.HasField("datetime_range"):
        moments = read_bounds(field.datetime_range)
        return edge.RangeDateTime(
            **{bound: moment.ToJsonString() for bound, moment in moments.items()}
        )
    return None


def read_bounds(source: Any) -> dict[str, Any]:
    """The bounds that the sender set, of a range of any kind."""
    return {bound: getattr(source, bound) for bound in BOUNDS if source.HasField(bound)}

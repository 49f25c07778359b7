"""Conditions on metadata as frameworks write them, made into filters of realm.

Metadata of realm are texts. A number is compared as a number, a date as a date, all else to the
letter.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from realm.errors import InvalidInput
from realm.filters import any_of, none_of
from realm.v1.types_pb2 import Filter

_BOUNDS = {">": "more_than", ">=": "at_least", "<": "less_than", "<=": "at_most"}


def condition(key: str, operator: str, value: Any) -> Filter:
    """`operator` is one of ==, !=, >, >=, <, <=, in, not in.

    :raises InvalidInput: if realm has no such operator, or cannot compare with the value.
    """
    match operator:
        case "==":
            return _equals(key, value)
        case "in":
            return any_of(*(_equals(key, each) for each in _several(key, value)))
        case "!=" | "not in":
            return none_of(condition(key, {"!=": "=="}.get(operator, "in"), value))
        case _ if operator in _BOUNDS:
            return Filter(range=Filter.Range(key=key, **{_BOUNDS[operator]: _text(key, value)}))
        case _:
            raise InvalidInput(f"the operator {operator!r} is not covered", field="filter")


def exists(key: str) -> Filter:
    return Filter(exists=key)


def all_of(*filters: Filter) -> Filter:
    return Filter(all=Filter.Filters(filters=filters))


def _equals(key: str, value: Any) -> Filter:
    text = _text(key, value)
    if isinstance(value, str):
        return Filter(equals=Filter.Equals(key=key, value=text))
    return Filter(range=Filter.Range(key=key, at_least=text, at_most=text))


def _several(key: str, value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInput(f"{key} is to be one of {value!r}: give a list", field="filter")
    return list(value)


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidInput(
        f"{key} is compared with {value!r}: metadata are texts, give a text, a number or a date",
        field="filter",
    )

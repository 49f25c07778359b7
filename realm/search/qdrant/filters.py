"""Filters as Qdrant applies them, and what of a passage's payload they read.

Values are compared in `metadata` as they are; ranges in `numbers` and `times`, which hold those
that have an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qdrant_client import models

from realm.filters import NUMBERS, TIMES, filterable, interval, ordered
from realm.v1.types_pb2 import Filter

METADATA = "metadata"
#: Indexes of a collection, beyond those of keys that the settings name: each costs memory and time,
#: and keys are users' own. By other keys is filtered too, only slower.
MOST_INDEXES = 32
_RANGE = {"at_least": "gte", "more_than": "gt", "at_most": "lte", "less_than": "lt"}


def to_qdrant(given: Filter) -> models.Filter:
    """:param given: a filter that was checked."""
    match kind := given.WhichOneof("condition"):
        case "equals":
            value = models.MatchValue(value=given.equals.value)
            return _must(path(METADATA, given.equals.key), match=value)
        case "one_of":
            values = models.MatchAny(any=list(given.one_of.values))
            return _must(path(METADATA, given.one_of.key), match=values)
        case "range":
            within = interval(given.range)
            bounds = {_RANGE[name]: bound for name, bound in within.bounds.items()}
            return _must(path(within.kind, given.range.key), range=models.Range(**bounds))
        case "exists":
            empty = models.PayloadField(key=path(METADATA, given.exists))
            return models.Filter(must_not=[models.IsEmptyCondition(is_empty=empty)])
        case "all" | "any" | "none":
            parts: list[Any] = [to_qdrant(each) for each in getattr(given, kind).filters]
            clause = {"all": "must", "any": "should", "none": "must_not"}[kind]
            return models.Filter(**{clause: parts})
        case _:
            raise ValueError(f"{given} was not checked")


def payload_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a passage carries to be found by."""
    return {METADATA: dict(metadata), **ordered(metadata)}


def path(field: str, key: str) -> str:
    return f'{field}."{key}"'


class PayloadIndexes:
    """Which indexes for filters a collection needs, as keys are met."""

    def __init__(self, keys: Iterable[str]) -> None:
        """:param keys: that every collection indexes."""
        self._keys = [each for each in keys if filterable(each)]
        self._known: dict[str, set[str]] = {}
        self._room: dict[str, int] = {}

    def of_new(self, collection: str) -> dict[str, models.PayloadSchemaType]:
        """The indexes to make in a new collection."""
        made: dict[str, models.PayloadSchemaType] = {}
        for key in self._keys:
            made[path(METADATA, key)] = models.PayloadSchemaType.KEYWORD
            for kind in (NUMBERS, TIMES):
                made[path(kind, key)] = models.PayloadSchemaType.FLOAT
        self._known[collection] = set(made)
        self._room[collection] = MOST_INDEXES
        return made

    def missing(
        self,
        collection: str,
        metadata: Iterable[Mapping[str, str]],
        present: Callable[[], int],
    ) -> dict[str, models.PayloadSchemaType]:
        """Those to make before passages with such metadata are written.

        :param present: how many indexes a collection made by another process has.
        """
        if collection not in self._known:
            self._room[collection] = MOST_INDEXES - present()  # which may fail
            self._known[collection] = set()
        known = self._known[collection]
        made: dict[str, models.PayloadSchemaType] = {}
        for each in metadata:
            for kind, keys in payload_of(each).items():
                for key in keys:
                    name = path(kind, key)
                    if name in known or not filterable(key):
                        continue
                    if len(made) >= self._room[collection]:
                        return made
                    known.add(name)
                    made[name] = _INDEX_TYPES[kind]
        self._room[collection] -= len(made)
        return made

    def forget(self, collection: str) -> None:
        self._known.pop(collection, None)
        self._room.pop(collection, None)


_INDEX_TYPES = {
    METADATA: models.PayloadSchemaType.KEYWORD,
    NUMBERS: models.PayloadSchemaType.FLOAT,
    TIMES: models.PayloadSchemaType.FLOAT,
}


def _must(key: str, **condition: Any) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=key, **condition)])

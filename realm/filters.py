"""Filters on documents' metadata: checked, conjoined, applied; numbers and dates as values.

`realm.v1.types_pb2.Filter` is the one form of a filter, from the client to the database.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from realm.errors import InvalidInput
from realm.v1.types_pb2 import Filter

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_VALUES = 1_000
#: Of keys and values; no metadata is longer.
MAX_BYTES = 16_384
#: What a database's paths to a key cannot hold.
FORBIDDEN = ('"', "\\", "\0")

BOUNDS = ("at_least", "more_than", "at_most", "less_than")
#: The kinds of values that have an order.
NUMBERS, TIMES = "numbers", "times"

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_TERM = re.compile(r"([^=<>!]*)(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_OPERATORS = {">=": "at_least", ">": "more_than", "<=": "at_most", "<": "less_than"}


@dataclass(frozen=True, slots=True)
class Interval:
    """Values of one kind, NUMBERS or TIMES (seconds since 1970), within all of the bounds."""

    kind: str
    bounds: dict[str, float]

    def __contains__(self, value: float) -> bool:
        compared = {
            "at_least": value.__ge__,
            "more_than": value.__gt__,
            "at_most": value.__le__,
            "less_than": value.__lt__,
        }
        return all(compared[name](bound) for name, bound in self.bounds.items())


def where(*terms: str | Filter) -> Filter:
    """Documents for which all of the terms hold.

    A term is `key=value`, `key!=value`, `key=one|another`, `key>=bound` (also >, <=, <; numbers or
    dates), `key` (it is there) or `!key` (it is not), or a filter.

    :raises InvalidInput: if there is none, or one says nothing.
    """
    found = conjoin(*(each if isinstance(each, Filter) else _term(each) for each in terms))
    if found is None:
        raise InvalidInput("there is no condition: give key=value, for example", field="filter")
    return check(found)


def any_of(*terms: str | Filter) -> Filter:
    """Documents for which at least one of the terms holds; terms as for `where`."""
    return Filter(any=Filter.Filters(filters=[where(each) for each in terms]))


def none_of(*terms: str | Filter) -> Filter:
    """Documents for which none of the terms holds; terms as for `where`."""
    return Filter(none=Filter.Filters(filters=[where(each) for each in terms]))


def conjoin(*filters: Filter | None) -> Filter | None:
    """What matches each of them: never more than any one does. None matches everything."""
    given = [each for each in filters if each is not None]
    if len(given) < 2:
        return given[0] if given else None
    return Filter(all=Filter.Filters(filters=given))


def check(given: Filter, field: str = "filter") -> Filter:
    """The filter, unchanged.

    :param field: its name in the request.
    :raises InvalidInput: naming the part that cannot be applied.
    """
    values = 0
    for conditions, (depth, place, each) in enumerate(_walk(given, field), 1):
        if depth > MAX_DEPTH:
            raise InvalidInput(
                f"{place} is nested {depth} deep: nest at most {MAX_DEPTH} deep", field=field
            )
        values += len(each.one_of.values)
        if conditions > MAX_CONDITIONS or values > MAX_VALUES:  # at once: there may be millions
            raise InvalidInput(
                f"{field} has more than {MAX_CONDITIONS} conditions or {MAX_VALUES:,} values: give"
                " fewer",
                field=field,
            )
        _check_one(each, place)
    return given


def matches(given: Filter | None, metadata: Mapping[str, str]) -> bool:
    """Whether a document with this metadata passes a filter that was checked."""
    if given is None:
        return True
    match given.WhichOneof("condition"):
        case "equals":
            return metadata.get(given.equals.key) == given.equals.value
        case "one_of":
            return metadata.get(given.one_of.key) in given.one_of.values
        case "range":
            within = interval(given.range)
            value = _values_of(metadata.get(given.range.key, "")).get(within.kind)
            return value is not None and value in within
        case "exists":
            return given.exists in metadata
        case "all":
            return all(matches(each, metadata) for each in given.all.filters)
        case "any":
            return any(matches(each, metadata) for each in given.any.filters)
        case "none":
            return not any(matches(each, metadata) for each in given.none.filters)
        case other:
            raise InvalidInput(f"a filter of kind {other} is unknown", field="filter")


def has_range(given: Filter | None) -> bool:
    return given is not None and any(each.HasField("range") for _, _, each in _walk(given, ""))


def interval(given: Filter.Range, place: str = "filter.range") -> Interval:
    """:raises InvalidInput: if the bounds are not all numbers or all dates."""
    texts = {name: getattr(given, name) for name in BOUNDS if given.HasField(name)}
    if not texts:
        raise InvalidInput(f"{place} has no bound: give {', '.join(BOUNDS)}", field=place)
    found = {name: _values_of(text) for name, text in texts.items()}
    for name, values in found.items():
        if not values:
            raise InvalidInput(
                f"{place}.{name} is {texts[name][:80]!a}: give a number, such as 3.5, or a"
                " date, such as 2024-05-01 or 2024-05-01T12:00:00Z",
                field=f"{place}.{name}",
            )
    for kind in (NUMBERS, TIMES):
        if all(kind in values for values in found.values()):
            return Interval(kind, {name: values[kind] for name, values in found.items()})
    raise InvalidInput(
        f"{place} is bounded by a number and by a date: give bounds of one kind", field=place
    )


def ordered(metadata: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The values that are numbers, and the dates as seconds since 1970, each by their keys."""
    found: dict[str, dict[str, float]] = {}
    for key, text in metadata.items():
        for kind, value in _values_of(text).items():
            found.setdefault(kind, {})[key] = value
    return found


def filterable(key: str) -> bool:
    """Whether a filter can name the key."""
    return not any(each in key for each in FORBIDDEN)


def _term(text: str) -> Filter:
    """One condition, as on a command line."""
    found = _TERM.fullmatch(text)
    if found is None:
        absent = text.startswith("!")
        given = Filter(exists=text[1:] if absent else text)
        if not given.exists:
            raise InvalidInput("a condition is empty: give key=value", field="filter")
        return Filter(none=Filter.Filters(filters=[given])) if absent else given
    key, operator, value = found.groups()
    if not key:
        raise InvalidInput(f"the condition {text[:80]!a} names no key", field="filter")
    if operator in _OPERATORS:
        return Filter(range=Filter.Range(key=key, **{_OPERATORS[operator]: value}))
    values = value.split("|")
    given = (
        Filter(one_of=Filter.OneOf(key=key, values=values))
        if len(values) > 1
        else Filter(equals=Filter.Equals(key=key, value=value))
    )
    return Filter(none=Filter.Filters(filters=[given])) if operator == "!=" else given


def _walk(given: Filter, place: str, depth: int = 1) -> Iterator[tuple[int, str, Filter]]:
    """Each part, with its depth and its place in the request, outer parts first."""
    yield depth, place, given
    kind = given.WhichOneof("condition")
    if kind in ("all", "any", "none"):
        for number, each in enumerate(getattr(given, kind).filters):
            yield from _walk(each, f"{place}.{kind}[{number}]", depth + 1)


def _check_one(given: Filter, place: str) -> None:
    match kind := given.WhichOneof("condition"):
        case None:
            raise InvalidInput(
                f"{place} says nothing: give equals, one_of, range, exists, all, any or none",
                field=place,
            )
        case "exists":
            _check_key(given.exists, f"{place}.exists")
        case "all" | "any" | "none":
            if not getattr(given, kind).filters:
                raise InvalidInput(
                    f"{place}.{kind} holds no filter: give at least one", field=f"{place}.{kind}"
                )
        case _:
            condition = getattr(given, kind)
            _check_key(condition.key, f"{place}.{kind}.key")
            if kind == "range":
                interval(condition, f"{place}.range")
            if kind == "one_of" and not condition.values:
                raise InvalidInput(
                    f"{place}.one_of holds no value: give at least one",
                    field=f"{place}.one_of.values",
                )


def _check_key(key: str, place: str) -> None:
    if not filterable(key):
        raise InvalidInput(
            f"{place} is {key[:80]!a}: filters cannot name keys with a quotation mark, a"
            " backslash or NUL",
            field=place,
        )
    if (size := len(key.encode())) > MAX_BYTES:
        raise InvalidInput(f"{place} has {size} bytes, the limit is {MAX_BYTES}", field=place)


def _values_of(text: str) -> dict[str, float]:
    """Its value by its kind; empty if it is neither number nor date."""
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return {NUMBERS: number}
    if _TIME.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:  # the 30th of February
            return {}
        return {TIMES: (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()}
    return {}

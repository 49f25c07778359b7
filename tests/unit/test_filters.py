"""Filters: what they match, what they refuse, and that conjoining never widens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import InvalidInput
from realm.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    any_of,
    check,
    conjoin,
    matches,
    none_of,
    ordered,
    where,
)
from realm.v1.types_pb2 import Filter

KEYS = st.sampled_from(["lang", "year", "a.b", ""])
VALUES = st.sampled_from(["de", "fr", "7", "-0.5", "2024-05-01", ""])
METADATA = st.dictionaries(KEYS, VALUES)
NUMBERS = st.sampled_from(["7", "-1", "1e3"])
LEAVES = st.one_of(
    st.builds(lambda key, value: Filter(equals=Filter.Equals(key=key, value=value)), KEYS, VALUES),
    st.builds(
        lambda key, values: Filter(one_of=Filter.OneOf(key=key, values=values)),
        KEYS,
        st.lists(VALUES, min_size=1),
    ),
    st.builds(lambda key: Filter(exists=key), KEYS),
    st.builds(lambda key, low: Filter(range=Filter.Range(key=key, at_least=low)), KEYS, NUMBERS),
)


def compound(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, min_size=1, max_size=3).map(lambda each: Filter.Filters(filters=each))
    return st.one_of(
        several.map(lambda each: Filter(all=each)),
        several.map(lambda each: Filter(any=each)),
        several.map(lambda each: Filter(none=each)),
    )


FILTERS = st.recursive(LEAVES, compound, max_leaves=8)


@given(FILTERS, FILTERS, METADATA)
def test_conjoined_filters_match_what_each_matches(
    one: Filter, other: Filter, metadata: dict[str, str]
) -> None:
    both = matches(one, metadata) and matches(other, metadata)
    assert matches(conjoin(one, other), metadata) == both
    assert matches(conjoin(None, one, None), metadata) == matches(one, metadata)
    assert matches(conjoin(), metadata)


@given(FILTERS, FILTERS, METADATA)
def test_any_and_none_are_opposites(one: Filter, other: Filter, metadata: dict[str, str]) -> None:
    some = matches(one, metadata) or matches(other, metadata)
    assert matches(any_of(one, other), metadata) == some
    assert matches(none_of(one, other), metadata) != some


@given(FILTERS)
def test_a_filter_survives_the_wire_and_its_check(one: Filter) -> None:
    assert Filter.FromString(check(one).SerializeToString()) == one


@pytest.mark.parametrize(
    ("term", "passing", "failing"),
    [
        ("lang=de", {"lang": "de"}, {"lang": "DE"}),
        ("lang!=de", {}, {"lang": "de"}),
        ("lang=de|fr", {"lang": "fr"}, {"lang": "de|fr"}),
        ("lang", {"lang": ""}, {}),
        ("!lang", {}, {"lang": ""}),
        ("lang=", {"lang": ""}, {}),
        ("year>=2020", {"year": "2020"}, {"year": "2019.99"}),
        ("year>2020", {"year": "2.0201e3"}, {"year": "2020"}),
        ("year<=9", {"year": "9"}, {"year": "10"}),
        ("year<9", {"year": "-10"}, {"year": "nan"}),
        ("year<9", {"year": "-.5"}, {"year": "٣"}),
        ("year<9", {"year": "1"}, {"year": "1 "}),
        ("day>=2024-05-01", {"day": "2024-05-01"}, {"day": "2024-04-30T23:59:59Z"}),
        ("day<2024-05-01", {"day": "2024-05-01T01:00:00+02:00"}, {"day": "2024-05-01"}),
        ("day>2024-02-28", {"day": "2024-02-29"}, {"day": "2023-02-29"}),
        ("day>2024-02-28", {"day": "2024-03-01 10:00"}, {"day": "20240301"}),
        ("title=a=b>c", {"title": "a=b>c"}, {"title": "a"}),
    ],
)
def test_a_term_says_which_documents(
    term: str, passing: dict[str, str], failing: dict[str, str]
) -> None:
    assert matches(where(term), passing)
    assert not matches(where(term), failing)
    assert matches(none_of(term), failing)


def test_all_terms_hold_together() -> None:
    both = where("lang=de", any_of("year<2000", "year>2020"))
    assert matches(both, {"lang": "de", "year": "1990"})
    assert not matches(both, {"lang": "de", "year": "2010"})
    assert not matches(both, {"lang": "fr", "year": "1990"})


def test_numbers_and_dates_are_told_apart() -> None:
    metadata = {"year": "2024", "day": "1970-01-02", "name": "x", "huge": "1e999"}
    assert ordered(metadata) == {"numbers": {"year": 2024.0}, "times": {"day": 86_400.0}}


def nested(depth: int) -> Filter:
    return where("x") if depth == 1 else Filter(all=Filter.Filters(filters=[nested(depth - 1)]))


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (Filter(), "filter", "filter says nothing: give equals"),
        (Filter(all=Filter.Filters()), "filter.all", "filter.all holds no filter"),
        (
            Filter(any=Filter.Filters(filters=[where("x"), Filter()])),
            "filter.any[1]",
            "filter.any[1] says nothing",
        ),
        (Filter(one_of=Filter.OneOf(key="x")), "filter.one_of.values", "holds no value"),
        (Filter(range=Filter.Range(key="x")), "filter.range", "has no bound: give at_least"),
        (
            Filter(range=Filter.Range(key="x", at_least="soon")),
            "filter.range.at_least",
            "filter.range.at_least is 'soon': give a number, such as 3.5, or a date",
        ),
        (
            Filter(range=Filter.Range(key="x", at_least="1", at_most="2024-01-01")),
            "filter.range",
            "bounds of one kind",
        ),
        (Filter(equals=Filter.Equals(key='a"b')), "filter.equals.key", "quotation mark"),
        (Filter(exists="a\\b"), "filter.exists", "backslash"),
        (Filter(exists="k" * 20_000), "filter.exists", "20000 bytes"),
        (nested(MAX_DEPTH + 1), "filter", f"nest at most {MAX_DEPTH} deep"),
        (
            Filter(all=Filter.Filters(filters=[Filter(exists="x")] * MAX_CONDITIONS)),
            "filter",
            f"more than {MAX_CONDITIONS} conditions",
        ),
        (
            Filter(one_of=Filter.OneOf(key="x", values=["v"] * (MAX_VALUES + 1))),
            "filter",
            "1,000 values",
        ),
    ],
)
def test_what_cannot_be_applied_is_named(wrong: Filter, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(wrong)
    assert caught.value.details["field"] == field
    assert words in caught.value.message


@pytest.mark.parametrize("term", ["", "!", "=x", ">3", "year>old", 'a"b=c'])
def test_a_term_that_says_nothing_is_refused(term: str) -> None:
    with pytest.raises(InvalidInput):
        where(term)


def test_no_term_is_no_filter() -> None:
    with pytest.raises(InvalidInput, match="no condition"):
        where()


def test_a_filter_of_a_million_parts_is_refused_before_they_are_looked_at() -> None:
    """Each of them would be wrong in itself."""
    many = Filter(all=Filter.Filters(filters=[Filter(exists="x")] * MAX_CONDITIONS + [Filter()]))
    with pytest.raises(InvalidInput, match="more than") as caught:
        check(many)
    assert caught.value.details["field"] == "filter"

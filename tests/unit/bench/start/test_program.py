"""From what was observed to claims."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.start.program import BENCH, First, Observed, judge

QUERIES: dict[str, Any] = {
    "total": 1_010,
    "failed": 0,
    "asked_again": 0,
    "mixed_version": 0,
    "audited": 300,
    "searches": 842,
    "answers": 168,
    "latency_ms": {},
    "failures": [],
}
GOOD = Observed(
    first=First(page=2.0, answer=12.0, by_words_alone=True),
    asked=45.0,
    words_first=40.0,
    at_once=39.0,
    report={"queries": QUERIES, "queries_by_generation": {"1": 300, "2": 710}},
    load=0.0,
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_a_good_start_keeps_all_claims() -> None:
    assert failing(GOOD) == []


@pytest.mark.parametrize(
    ("name", "value", "claim"),
    [
        ("failed", 1, "questions that failed"),
        ("asked_again", 1, "questions that had to be asked again"),
        ("mixed_version", 1, "answers of mixed versions"),
        ("total", 999, "questions asked"),
    ],
)
def test_each_fault_of_a_question_breaks_its_claim(name: str, value: int, claim: str) -> None:
    report = {**GOOD.report, "queries": {**QUERIES, name: value}}
    assert failing(replace(GOOD, report=report)) == [claim]


def test_vectors_must_have_answered_too_and_words_alone_before() -> None:
    report = {**GOOD.report, "queries_by_generation": {"1": 1_010}}
    assert failing(replace(GOOD, report=report)) == ["generations that answered"]
    first = replace(GOOD.first, by_words_alone=False)
    assert failing(replace(GOOD, first=first)) == ["answered by words alone first"]


def test_time_is_judged_where_nothing_else_runs() -> None:
    never = replace(GOOD, first=First(), words_first=100.0)
    slow = [
        "seconds until a search is answered",
        "times as long until vectors are live as without words first",
    ]
    assert [each for each in failing(never) if each in slow] == slow
    quick = replace(GOOD, first=replace(GOOD.first, answer=40.0), words_first=100.0)
    assert all(each.holds for each in judge(BENCH.quick, quick).claims)

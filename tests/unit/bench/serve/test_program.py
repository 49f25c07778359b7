"""From what was observed to claims."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from bench.serve.load import Served
from bench.serve.pipeline import Outcome
from bench.serve.program import BENCH, Beside, Observed, Overload, judge

CALM = Served(10.0, [0.01] * 100)
FLOODED = Served(10.0, [0.3] * 1000, [0.005] * 2000)


def turn(rate: float, processor: float = 0.004, latency: float = 0.3) -> list[Outcome]:
    return [Outcome(rate, processor, [latency] * 50)] * 3


GOOD = Observed(
    turns={
        "pipeline search": turn(110, 0.004),
        "gateway search": turn(100, 0.0045),
        "pipeline idle": turn(100, latency=0.008),
        "gateway idle": turn(90, latency=0.010),
        "pipeline answer": turn(10),
        "gateway answer": turn(9.5),
        "gateway dense": turn(120),
        "plain dense": turn(40),
    },
    overload=Overload(FLOODED, (100, 101), turn(100)[0]),
    reading=Beside(CALM, replace(CALM, answered=[0.03] * 100)),
    waiting=Beside(CALM, CALM),
    source="here",
)


def failing(observed: Observed) -> set[str]:
    return {each.claim for each in judge(BENCH.quick, observed).claims if not each.holds}


def test_a_good_gateway_keeps_all_claims() -> None:
    assert failing(GOOD) == set()


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"gateway search": turn(60, 0.0045)}, "searches a second against the pipeline's"),
        ({"gateway search": turn(100, 0.006)}, "processor time of a search"),
        ({"gateway idle": turn(90, latency=0.012)}, "a lone search takes longer"),
        ({"gateway answer": turn(8)}, "answers a second"),
        ({"plain dense": turn(60)}, "a plain server's"),
    ],
)
def test_each_turn_counts(changes: dict[str, list[Outcome]], broken: str) -> None:
    found = failing(replace(GOOD, turns=GOOD.turns | changes))
    assert any(broken in each for each in found)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"answered": [0.3] * 800}, "goodput"),
        ({"answered": [0.3] * 900 + [5.5] * 300}, "p99 of what is taken on"),
        ({"refused": [0.2] * 2000}, "until a refusal"),
        ({"failed": Counter({"DeadlinePassed": 1})}, "failed otherwise"),
    ],
)
def test_a_flood_counts(changes: dict[str, Any], broken: str) -> None:
    overload = replace(GOOD.overload, searches=replace(FLOODED, **changes))
    assert any(broken in each for each in failing(replace(GOOD, overload=overload)))


def test_growth_slow_recovery_slow_searches_and_lost_ones_count() -> None:
    overload = Overload(FLOODED, (100, 120), turn(80)[0])
    slow = replace(CALM, answered=[0.2] * 100)
    lost = replace(CALM, refused=[0.01])
    found = failing(
        replace(GOOD, overload=overload, reading=Beside(CALM, slow), waiting=Beside(CALM, lost))
    )
    assert len(found) == 4

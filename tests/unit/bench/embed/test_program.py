"""From what was observed to claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.embed.program import BENCH, Observed, judge
from bench.embed.scale import Volume
from bench.embed.sides import Turn, least_cosine

OURS, DEFAULT, BEST = "realm bfloat16", "sentence-transformers float32", "OpenVINO bfloat16"


def turns(*seconds: float) -> list[Turn]:
    return [Turn(each, 2 * each) for each in seconds]


GOOD = Observed(
    turns={
        OURS: turns(1.0, 2.0, 1.0),
        "realm float32": turns(0.5, 0.5, 0.5),
        DEFAULT: turns(4.0, 8.0, 4.0),
        BEST: turns(1.3, 2.6, 1.3),
    },
    cosines={OURS: 0.9999, DEFAULT: 1.0},
    missing=[],
    tokens=1000,
    work=4e11,
    rate=1e12,
    amx=True,
    load=(0.0, 2.0),
    source="here",
    volumes={500: Volume(100.0, 1000), 8000: Volume(95.0, 1050)},
    gain=1.95,
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_a_fast_encoder_keeps_all_claims() -> None:
    assert failing(GOOD) == []
    assert len(judge(BENCH.full, GOOD).claims) == 7


@pytest.mark.parametrize(
    ("name", "seconds", "broken"),
    [
        (DEFAULT, (2.9, 5.0, 2.9), "times sentence-transformers' default"),
        (BEST, (1.2, 2.4, 1.2), "times the best of the others, OpenVINO bfloat16"),
    ],
)
def test_each_of_the_others_counts(name: str, seconds: tuple[float, ...], broken: str) -> None:
    assert failing(replace(GOOD, turns=GOOD.turns | {name: turns(*seconds)})) == [broken]


def test_turns_are_compared_within_a_round_so_that_other_load_says_nothing() -> None:
    loaded = {OURS: turns(1, 9, 1), DEFAULT: turns(4, 36, 4), BEST: turns(1.5, 13, 1.5)}
    assert failing(replace(GOOD, turns=loaded)) == []


def test_without_amx_more_of_the_matrix_rate_is_asked_for() -> None:
    broken = ["share of the rate of matrix products alone"]
    assert failing(replace(GOOD, amx=False)) == broken
    assert failing(replace(GOOD, work=3e11)) == broken
    assert failing(replace(GOOD, amx=False, work=8e11)) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"gain": 1.8}, "times one worker of one thread, two"),
        (
            {"volumes": {500: Volume(100.0, 1000), 8000: Volume(80.0, 1000)}},
            "share by which rates of few and many differ",
        ),
        (
            {"volumes": {500: Volume(100.0, 1000), 8000: Volume(100.0, 1200)}},
            "share by which memory after few and many differs",
        ),
    ],
)
def test_many_passages_and_workers_count(change: dict[str, object], broken: str) -> None:
    assert failing(replace(GOOD, **change)) == [broken]  # type: ignore[arg-type]


def test_another_vector_breaks_the_claim_even_in_the_short_form() -> None:
    wrong = replace(GOOD, cosines={OURS: 0.99})
    claims = judge(BENCH.quick, wrong).claims
    assert [each.holds for each in claims] == [False]


def test_alone_it_is_compared_with_the_processor() -> None:
    alone = replace(GOOD, turns={OURS: GOOD.turns[OURS]}, missing=["OpenVINO"])
    assert failing(alone) == []
    assert judge(BENCH.full, alone).figures["not_installed"] == ["OpenVINO"]


def test_the_least_cosine_is_that_of_the_worst_row() -> None:
    vectors = np.array([[1, 0], [3, 4]], np.float32)
    assert least_cosine(vectors, np.array([[2, 0], [1, 0]], np.float32)) == pytest.approx(0.6)

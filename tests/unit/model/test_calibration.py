"""Calibration: what it may never change, and what it makes better."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realm.errors import BadSettings
from realm.model.calibration import (
    calibrate,
    expected_calibration_error,
    fit,
    fit_evidence,
    fit_relevance,
)
from realm.model.config import AnswerRules
from realm.model.relevance import Relevance, log_probabilities

RULES = st.builds(AnswerRules, st.just(True), st.floats(0.05, 5.0), st.floats(-4.0, 4.0))


@st.composite
def shares_of_a_question(draw: st.DrawFn) -> tuple[list[float], float]:
    """Shares of answers, best first, and of "no answer": parts of one softmax."""
    weights = draw(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=6))
    null, rest = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    total = sum(weights) + null + rest
    return sorted((weight / total for weight in weights), reverse=True), null / total


@given(shares_of_a_question(), RULES)
def test_order_never_changes_and_all_stay_probabilities(
    given_shares: tuple[list[float], float], rules: AnswerRules
) -> None:
    shares, null = given_shares
    after = calibrate(shares, null, rules)
    assert len(after) == len(shares)
    assert all(0 <= one <= 1 for one in after)
    assert sum(after) + null <= 1 + 1e-9
    assert all(x >= y - 1e-12 for x, y in pairwise(after))


@given(shares_of_a_question())
def test_slope_one_and_offset_nought_change_nothing(
    given_shares: tuple[list[float], float],
) -> None:
    shares, null = given_shares
    assert calibrate(shares, null, AnswerRules(null=True)) == shares
    assert calibrate([], null, AnswerRules(slope=2.0)) == []


@given(shares_of_a_question(), RULES, st.floats(1.01, 2.0))
def test_a_likelier_answer_stays_the_likelier_over_questions(
    given_shares: tuple[list[float], float], rules: AnswerRules, factor: float
) -> None:
    shares, _ = given_shares
    less = shares[0] / factor
    assert calibrate([less], 0.0, rules)[0] <= calibrate([shares[0]], 0.0, rules)[0]


def drawn(count: int, slope: float, offset: float) -> tuple[list[float], list[bool]]:
    """Shares whose truth is another probability: σ(slope · logit + offset)."""
    rng = random.Random(7)
    shares = [rng.uniform(0.02, 0.98) for _ in range(count)]
    true = [1 / (1 + math.exp(-(slope * math.log(p / (1 - p)) + offset))) for p in shares]
    return shares, [rng.random() < p for p in true]


def test_fit_finds_the_truth_and_lowers_the_error() -> None:
    shares, right = drawn(4000, 0.5, -0.7)
    rules = fit(shares, [0.0] * len(shares), right)
    assert rules.slope == pytest.approx(0.5, abs=0.08)
    assert rules.offset == pytest.approx(-0.7, abs=0.12)
    after = [calibrate([share], 0.0, rules)[0] for share in shares]
    before = expected_calibration_error(shares, right)
    assert before > 0.1
    assert expected_calibration_error(after, right) < before / 3


def test_fit_takes_no_answer_for_granted() -> None:
    shares, right = drawn(4000, 1.0, 0.0)
    nulls = [0.5] * len(shares)
    rules = fit([share / 2 for share in shares], nulls, right)
    assert rules.slope == pytest.approx(1.0, abs=0.1)
    assert rules.offset == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("right", [[], [True] * 5, [False] * 5])
def test_without_right_and_wrong_answers_nothing_is_fitted(right: list[bool]) -> None:
    assert fit([0.5] * len(right), [0.0] * len(right), right) == AnswerRules()


def drawn_passages(weight: float, questions: int) -> tuple[list[NDArray[np.float64]], ...]:
    """Priors, evidence, and which of five passages answers, drawn by their softmax."""
    rng = np.random.default_rng(4)
    priors = [rng.normal(size=5) for _ in range(questions)]
    evidence = [3 * rng.normal(size=5) for _ in range(questions)]
    holds = []
    for prior, found in zip(priors, evidence, strict=True):
        shares = np.exp(prior + weight * found)
        holds.append(np.arange(5) == rng.choice(5, p=shares / shares.sum()))
    return priors, evidence, holds


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_weight_of_evidence_is_found(weight: float) -> None:
    assert fit_evidence(*drawn_passages(weight, 1500)) == pytest.approx(weight, abs=0.06)  # type: ignore[arg-type]


def test_evidence_against_the_answers_weighs_nothing() -> None:
    priors, evidence, holds = drawn_passages(0.5, 200)
    assert fit_evidence(priors, [-each for each in evidence], holds) == 0.0  # type: ignore[arg-type]
    every = [np.ones(5, bool), np.zeros(5, bool)]
    assert fit_evidence(priors[:2], evidence[:2], every) == 0.0


def drawn_candidates(
    relevance: Relevance, questions: int
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Products and words of twenty candidates, and which is right, drawn by their softmax."""
    rng = np.random.default_rng(6)
    products = [rng.normal(0.4, 0.15, 20).astype(np.float32) for _ in range(questions)]
    words = [rng.gamma(3, 2, 20).astype(np.float32) for _ in range(questions)]
    right = []
    for pair in zip(products, words, strict=True):
        shares = np.exp(log_probabilities(relevance(*pair)))
        right.append(np.arange(20) == rng.choice(20, p=shares))
    return products, words, right


@pytest.mark.parametrize("true", [Relevance(14.0, 1.1), Relevance(30.0, 0.0), Relevance(5.0, 0.4)])
def test_scale_and_weight_of_words_are_found(true: Relevance) -> None:
    found = fit_relevance(*drawn_candidates(true, 1500), Relevance(20.0, 1.0))
    assert found.scale == pytest.approx(true.scale, abs=1.5)
    assert found.word_weight == pytest.approx(true.word_weight, abs=0.08)


def test_relevance_stays_where_no_question_tells() -> None:
    products, words, right = drawn_candidates(Relevance(14.0, 1.1), 2)
    begun = Relevance(20.0, 1.0)
    assert fit_relevance([], [], [], begun) == begun
    nothing = [np.ones_like(right[0]), np.zeros_like(right[1])]
    assert fit_relevance(products, words, nothing, begun) == begun


def test_calibration_error_is_the_gap_between_said_and_true() -> None:
    assert expected_calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert expected_calibration_error([1.0] * 4, [True, False] * 2) == pytest.approx(0.5)
    # Two bins of two questions each: gaps of 0.9 and 0.2.
    said, true = [0.9, 0.9, 0.2, 0.2], [False, False, False, False]
    assert expected_calibration_error(said, true) == pytest.approx((0.9 + 0.2) / 2)
    assert expected_calibration_error([], []) == 0


@pytest.mark.parametrize("bad", [{"slope": 0.0}, {"slope": math.nan}, {"offset": math.inf}])
def test_rules_that_would_change_an_order_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadSettings, match=r"answers\."):
        AnswerRules(**bad)  # type: ignore[arg-type]

"""Mixing objectives: weights are read strictly, and steps are drawn by seed and step alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import BadSettings
from realm.settings import load_settings
from realm.settings.objectives import Mixture

OBJECTIVES = ("inverse_cloze", "masked_lm", "cloze_qa", "open_qa", "dpr")
weights = st.dictionaries(
    st.sampled_from(OBJECTIVES), st.floats(0.25, 8), min_size=1, max_size=len(OBJECTIVES)
)


def text(given: dict[str, float]) -> str:
    return ",".join(f"{name}={weight}" for name, weight in given.items())


def test_weights_become_shares() -> None:
    mixture = Mixture.parse(" inverse_cloze = 3, masked_lm=1 ,dpr=0")
    assert mixture.shares == (("inverse_cloze", 0.75), ("masked_lm", 0.25))
    assert Mixture.parse("dpr").shares == (("dpr", 1.0),)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("masked_lm=1,=2", "'=2' names no objective"),
        ("masked_lm=-1", "'masked_lm=-1' must be a finite number of 0 or more"),
        ("masked_lm=inf", "'masked_lm=inf'"),
        ("masked_lm=nan", "'masked_lm=nan'"),
        ("masked_lm=much", "'masked_lm=much' is no number"),
        ("masked_lm=", "'masked_lm=' is no number"),
        ("masked_lm=1,masked_lm=2", "masked_lm is given twice"),
        ("", "no objective has a weight"),
        ("masked_lm=0,dpr=0", "no objective has a weight"),
    ],
)
def test_a_fault_is_named(given: str, said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        Mixture.parse(given)
    with pytest.raises(BadSettings, match=f"REALM_OBJECTIVES: .*{said}"):
        load_settings(objectives=given)


@settings(max_examples=25, deadline=None)
@given(weights, st.integers(0, 10_000))
def test_steps_have_the_proportions_of_the_weights(given: dict[str, float], seed: int) -> None:
    mixture = Mixture.parse(text(given))
    steps = 4000
    drawn = Counter(mixture.at(seed, step) for step in range(1, steps + 1))
    total = sum(given.values())
    for name, weight in given.items():
        share = weight / total
        # Five standard deviations, and a little for the smallest shares.
        slack = 5 * (share * (1 - share) / steps) ** 0.5 + 1e-3
        assert abs(drawn[name] / steps - share) < slack
    assert set(drawn) <= set(given)


@given(weights, st.integers(), st.integers(0))
def test_a_step_repeats_itself(given: dict[str, float], seed: int, step: int) -> None:
    first, second = Mixture.parse(text(given)), Mixture.parse(text(given))
    assert first.at(seed, step) == second.at(seed, step)


def test_seeds_and_steps_differ() -> None:
    mixture = Mixture.parse("inverse_cloze,masked_lm")
    orders = {tuple(mixture.at(seed, step) for step in range(40)) for seed in range(20)}
    assert len(orders) == 20


@settings(max_examples=40, deadline=None)
@given(weights, st.frozensets(st.sampled_from(OBJECTIVES)))
def test_fewer_objectives_keep_their_proportions(
    given: dict[str, float], kept: frozenset[str]
) -> None:
    whole = Mixture.parse(text(given))
    part = whole.only(kept)
    if part is None:
        assert not kept & set(given)
        return
    assert set(part.names) == kept & set(given)
    assert sum(share for _, share in part.shares) == pytest.approx(1)
    before = dict(whole.shares)
    ratios = {round(share / before[name], 9) for name, share in part.shares}
    assert len(ratios) == 1

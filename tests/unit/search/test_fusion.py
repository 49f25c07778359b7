"""Reciprocal rank fusion against the paper's formula."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from realm.search.fusion import reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=10), max_size=4)


@given(RANKINGS)
def test_items_are_ordered_by_the_sum_of_their_reciprocal_ranks(rankings: list[list[int]]) -> None:
    def score(item: int) -> Fraction:
        ranks = [ranking.index(item) + 1 for ranking in rankings if item in ranking]
        return sum((Fraction(1, 60 + rank) for rank in ranks), Fraction(0))

    fused = reciprocal_rank_fusion(rankings)
    assert sorted(fused) == sorted({item for ranking in rankings for item in ranking})
    scores = [float(score(item)) for item in fused]
    assert all(a >= b - 1e-12 for a, b in pairwise(scores))


def test_first_in_one_ranking_loses_to_second_in_both() -> None:
    assert reciprocal_rank_fusion([["a", "b"], ["c", "b"]]) == ["b", "a", "c"]


def test_one_ranking_stays_as_it_is() -> None:
    assert reciprocal_rank_fusion([["c", "a", "b"], []]) == ["c", "a", "b"]

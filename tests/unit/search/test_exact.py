"""Exact search by vectors, by words and by both."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.model.relevance import Relevance
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index, SparseVector
from realm.search.exact import DEPTH, RRF_K, ExactIndex, reciprocal_rank_fusion
from realm.search.vector_index import Query

#: By vector the order is 0, 1, 2, 3; by the word 7 it is 3, 2; nobody has the word 9.
VECTORS = np.array([[4, 0], [3, 0], [2, 1], [1, 1]], np.float32)
WORDS = [
    SparseVector([5], [0.5]),
    SparseVector([5], [0.5]),
    SparseVector([7], [0.3]),
    SparseVector([7], [0.9]),
]
QUESTION = np.array([1.0, 0.5], np.float32)
RELEVANCE = Relevance(scale=2.0, word_weight=3.0)
RANKINGS = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=10), max_size=4)


@pytest.fixture
def index() -> ExactIndex:
    return ExactIndex(VECTORS, Bm25Index(WORDS))


@pytest.mark.parametrize(
    ("way", "term", "rows"),
    [
        (Retrieval.DENSE, 7, [0, 1, 2]),
        (Retrieval.BM25, 7, [3, 2]),
        (Retrieval.HYBRID, 7, [0, 1, 2]),  # 8, 6, 5.9, 5.7
        (Retrieval.RANK_FUSION, 7, [3, 2, 0]),
        (Retrieval.BM25, 9, []),
        (Retrieval.HYBRID, 9, [0, 1, 2]),
        (Retrieval.RANK_FUSION, 9, [0, 1, 2]),
    ],
)
def test_the_way_chooses_the_passages(
    index: ExactIndex, way: Retrieval, term: int, rows: list[int]
) -> None:
    terms = SparseVector([term], [1.0])
    found = index.search(Query(QUESTION, terms, way, RELEVANCE), 3)
    assert found.rows.tolist() == rows
    # Whatever ranked them: both parts are exact.
    assert found.products.tolist() == [float(VECTORS[row] @ QUESTION) for row in rows]
    words = [np.float32(terms.dot(WORDS[row])) for row in rows]
    assert found.words.tolist() == words


def test_relevance_ranks_what_either_ranking_finds_by_both_parts() -> None:
    rng = np.random.default_rng(3)
    count = 3 * DEPTH
    vectors = rng.standard_normal((count, 8)).astype(np.float32)
    weights = [SparseVector([1], [float(weight)]) for weight in rng.random(count)]
    index, terms = ExactIndex(vectors, Bm25Index(weights)), SparseVector([1], [4.0])
    query = Query(vectors[0], terms, Retrieval.HYBRID, RELEVANCE)
    found = index.search(query, 20)
    by_vector, by_words = vectors @ vectors[0], np.array([terms.dot(each) for each in weights])
    either = {*np.argsort(-by_vector)[:DEPTH].tolist(), *np.argsort(-by_words)[:DEPTH].tolist()}
    f = index.scores(query)
    np.testing.assert_allclose(f, 2.0 * by_vector + 3.0 * by_words, atol=1e-4)
    assert found.rows.tolist() == sorted(either, key=lambda row: -f[row])[:20]


def test_words_count_as_far_as_they_cover_the_question() -> None:
    passages = [SparseVector([1, 2], [0.5, 0.5]), SparseVector([1], [0.8]), SparseVector([3], [1])]
    index = ExactIndex(np.zeros((3, 2), np.float32), Bm25Index(passages))
    terms = SparseVector([1, 2, 4], [4.0, 4.0, 2.0])
    query = Query(QUESTION, terms, Retrieval.HYBRID, replace(RELEVANCE, coverage=True))
    expected = [4.0 * 4.0 / 10.0, 3.2 * 3.2 / 10.0, 0.0]
    np.testing.assert_allclose(index.scores(query), [3.0 * each for each in expected], rtol=1e-6)
    found = index.search(query, 3)
    np.testing.assert_allclose(found.words, expected, rtol=1e-6)
    assert index.search(replace(query, retrieval=Retrieval.BM25), 3).rows.tolist() == [0, 1]


def test_both_rankings_count_only_so_far_down() -> None:
    rng = np.random.default_rng(0)
    count = 3 * DEPTH
    vectors = rng.standard_normal((count, 8)).astype(np.float32)
    words = Bm25Index([SparseVector([1], [float(weight)]) for weight in rng.random(count)])
    index = ExactIndex(vectors, words)
    query, terms = vectors[0], SparseVector([1], [1.0])
    rankings = [
        index.search(Query(query, terms, way), DEPTH).rows.tolist() for way in list(Retrieval)[:2]
    ]
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, 1):
            scores[row] = scores.get(row, 0) + 1 / (RRF_K + rank)
    found = index.search(Query(query, terms, Retrieval.RANK_FUSION), count).rows.tolist()
    assert set(found) == set(scores)
    assert [scores[row] for row in found] == sorted(scores.values(), reverse=True)


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

"""Exact search by vectors, by words and by both."""

from __future__ import annotations

import numpy as np
import pytest

from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index, SparseVector
from realm.search.exact import ExactIndex
from realm.search.fusion import RRF_DEPTH, RRF_K

#: By vector the order is 0, 1, 2, 3; by the word 7 it is 3, 2; nobody has the word 9.
VECTORS = np.array([[4, 0], [3, 0], [2, 1], [1, 1]], np.float32)
WORDS = [
    SparseVector([5], [0.5]),
    SparseVector([5], [0.5]),
    SparseVector([7], [0.3]),
    SparseVector([7], [0.9]),
]
QUESTION = np.array([1.0, 0.5], np.float32)


@pytest.fixture
def index() -> ExactIndex:
    return ExactIndex(VECTORS, Bm25Index(WORDS))


@pytest.mark.parametrize(
    ("way", "term", "rows"),
    [
        (Retrieval.DENSE, 7, [0, 1, 2]),
        (Retrieval.BM25, 7, [3, 2]),
        (Retrieval.HYBRID, 7, [3, 2, 0]),
        (Retrieval.BM25, 9, []),
        (Retrieval.HYBRID, 9, [0, 1, 2]),
    ],
)
def test_the_way_chooses_the_passages(
    index: ExactIndex, way: Retrieval, term: int, rows: list[int]
) -> None:
    found, products = index.search(QUESTION, SparseVector([term], [1.0]), way, 3)
    assert found.tolist() == rows
    # Whatever chose them: the inner product is the model's.
    assert products.tolist() == [float(VECTORS[row] @ QUESTION) for row in rows]


def test_both_rankings_count_only_so_far_down() -> None:
    rng = np.random.default_rng(0)
    count = 3 * RRF_DEPTH
    vectors = rng.standard_normal((count, 8)).astype(np.float32)
    words = Bm25Index([SparseVector([1], [float(weight)]) for weight in rng.random(count)])
    index = ExactIndex(vectors, words)
    query, terms = vectors[0], SparseVector([1], [1.0])
    rankings = [
        index.search(query, terms, way, RRF_DEPTH)[0].tolist() for way in list(Retrieval)[:2]
    ]
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, 1):
            scores[row] = scores.get(row, 0) + 1 / (RRF_K + rank)
    found = index.search(query, terms, Retrieval.HYBRID, count)[0].tolist()
    assert set(found) == set(scores)
    assert [scores[row] for row in found] == sorted(scores.values(), reverse=True)

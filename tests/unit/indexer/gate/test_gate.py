from __future__ import annotations

import numpy as np
import pytest

from realm.corpus.passages import Passage
from realm.search.bm25 import SparseVector, passage_weights
from services.indexer.gate.checks import norms_fault, recall_of_scores
from services.indexer.gate.content import ExpectedContent


def vector(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_content_is_shards_and_deltas_in_order() -> None:
    content = ExpectedContent()
    for ordinal in range(3):
        content.put(f"a{ordinal}", "a", 1, vector(ordinal, 0))
    content.put("b0", "b", 1, vector(9, 9))
    content.put("a0", "a", 4, vector(7, 7))
    content.delete_older("a", 4)
    assert set(content.vectors) == {"a0", "b0"}
    assert content.vectors["a0"].tolist() == [7, 7]
    content.delete_older("b", 5)
    content.delete_older("never-there", 5)
    assert set(content.vectors) == {"a0"}
    content.put("b0", "b", 6, vector(1, 1))
    content.delete_older("b", 6)
    assert set(content.vectors) == {"a0", "b0"}


def test_content_knows_the_words_of_what_is_there() -> None:
    passages = [tiny_passage(0, [7, 3], [2, 1]), tiny_passage(1, [], [])]
    content = ExpectedContent()
    content._put(passages, np.ones((2, 2), np.float32))
    expected = passage_weights([3, 7], [1, 2], 4.0)
    assert content.weights("p0", 4.0).close_to(expected, 1e-6)
    assert not content.weights("p0", 2.0).close_to(expected, 1e-6)
    assert content.weights("p1", 4.0) == SparseVector([], [])
    content.delete_older("a", 2)
    assert not content.terms


def tiny_passage(ordinal: int, terms: list[int], counts: list[int]) -> Passage:
    return Passage(
        f"p{ordinal}", "a", 1, ordinal, 0, 1, "", "x", [], [], "", terms=terms, term_counts=counts
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1, 0], [0, 1]], ""),
        ([[1, 0], [np.nan, 1]], "not finite"),
        ([[1, 0], [np.inf, 1]], "not finite"),
        ([[1, 0], [0, 0]], "length zero"),
        ([[1, 0]] * 3 + [[500, 0]], "times as long"),
    ],
)
def test_lengths_are_sane(rows: list[list[float]], words: str) -> None:
    fault = norms_fault(np.array(rows, dtype=np.float32))
    assert words in fault
    assert bool(fault) == bool(words)


def test_recall_counts_passages_as_good_as_the_exact_best() -> None:
    exact = np.array([[3.0, 2.0, 1.0]], dtype=np.float32)
    assert recall_of_scores([[3.0, 2.0, 1.0]], exact) == 1.0
    assert recall_of_scores([[3.0, 1.0, 1.0]], exact) == 1.0
    assert recall_of_scores([[3.0, 0.5, 0.4]], exact) == pytest.approx(1 / 3)
    assert recall_of_scores([[]], exact) == 0.0

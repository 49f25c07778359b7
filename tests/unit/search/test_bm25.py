"""BM25 by sparse vectors equals bm25s, a library of its own, on the same terms."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import pytest
from numpy.typing import NDArray

from realm.records.weighing import Weighing
from realm.search.bm25 import (
    K1,
    B,
    Bm25Index,
    passage_weights,
)
from realm.search.word_statistics import Counting
from realm.text.terms import PAIR_WEIGHT, count_terms, pair_hash, pairs, terms

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "squad_open"
WORDS = [f"w{number}" for number in range(300)]


def generated(rng: random.Random, shortest: int, longest: int) -> str:
    """Words by Zipf's law."""
    weights = [1 / rank for rank in range(1, len(WORDS) + 1)]
    return " ".join(rng.choices(WORDS, weights, k=rng.randint(shortest, longest)))


class Corpus:
    """Texts, weighed by their own statistics."""

    def __init__(self, texts: Sequence[str]) -> None:
        counting = Counting()
        counted = [count_terms(text) for text in texts]
        terms, counts = [list(c) for c in counted], [list(c.values()) for c in counted]
        counting.add(terms, counts)
        self.statistics = counting.result()
        weighed = [self.statistics.passage(*each) for each in zip(terms, counts, strict=True)]
        self.index = Bm25Index(weighed)

    def scores(self, question: str) -> NDArray[np.float32]:
        return self.index.scores(self.statistics.question(question))

    def search(self, question: str, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return self.index.search(self.statistics.question(question), k)


def joined(text: str) -> list[str]:
    """Pairs by their index, which two may share."""
    return [f"pair {pair_hash(*pair)}" for pair in pairs(text)]


def agrees_with_bm25s(texts: Sequence[str], questions: Sequence[str]) -> None:
    """bm25s weighs no term: words and pairs of a question are asked for one after the other."""
    oracle = bm25s.BM25(k1=K1, b=B, method="lucene")
    oracle.index([[*terms(text), *joined(text)] for text in texts], show_progress=False)
    index = Corpus(texts)
    for question in questions:
        expected = oracle.get_scores(list(terms(question)))
        if asked := joined(question):
            expected = expected + PAIR_WEIGHT * oracle.get_scores(asked)
        scores = index.scores(question)
        np.testing.assert_allclose(scores, expected, rtol=2e-5, atol=1e-5)
        rows, best = index.search(question, 10)
        np.testing.assert_allclose(best, np.sort(expected)[::-1][: len(best)], rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(expected[rows], best, rtol=2e-5, atol=1e-5)


def test_generated_passages_score_as_by_bm25s() -> None:
    rng = random.Random(1)
    texts = [generated(rng, 1, 60) for _ in range(200)]
    # bm25s knows no word that no passage has, and weighs a word once for each time it is asked.
    agrees_with_bm25s(texts, [generated(rng, 1, 8) for _ in range(40)])


@pytest.mark.skipif(not DATA.is_dir(), reason="squad_open is not here")
def test_squad_passages_score_as_by_bm25s() -> None:
    with (DATA / "documents.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with (DATA / "questions.dev.jsonl").open(encoding="utf-8") as file:
        questions = [json.loads(line)["question"] for line in file]
    agrees_with_bm25s([f"{row['title']} {row['text']}" for row in rows[:400]], questions[:50])


def test_the_formula_worked_out_by_hand() -> None:
    index = Corpus(["red fox fox", "red dog", "blue sky above us all"])
    (row,), (score,) = index.search("fox?", 5)
    length = 1 - B + B * 5 / (17 / 3)  # pairs of words are terms too
    assert row == 0
    assert score == pytest.approx(math.log(1 + 2.5 / 1.5) * 2 / (2 + K1 * length), rel=1e-6)


def test_passages_that_share_no_word_are_not_found() -> None:
    index = Corpus(["red fox", "red dog", "blue sky"])
    assert index.search("fox", 5)[0].tolist() == [0]
    assert index.search("green", 5)[0].tolist() == []
    assert index.search("…", 5)[0].tolist() == []
    assert Corpus([]).search("fox", 5)[0].tolist() == []


def test_weights_grow_with_repetition_and_fall_with_length() -> None:
    (once,) = passage_weights([7], [1], Weighing(10.0, K1)).values
    (thrice,) = passage_weights([7], [3], Weighing(10.0, K1)).values
    among_others = passage_weights([7, 8], [1, 30], Weighing(10.0, K1)).values[0]
    assert 0 < among_others < once < thrice < 1

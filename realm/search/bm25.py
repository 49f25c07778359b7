"""BM25 as inner products of sparse vectors, so that a vector database can search by words.

score(x, z) = Σ over terms t of x:  n(t, x) · IDF(t) · tf / (tf + k₁·(1 − b + b·|z| / average |z|))
(Robertson and Zaragoza 2009, eq. 3.15, without its constant factor k₁ + 1). A passage carries the
last factor, a question the two before it. IDF and average length are those of a whole corpus
(`realm.search.word_statistics`), so that a score never depends on where a passage lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realm.records.weighing import Weighing

#: Of a new generation: a word said once says nearly all (docs/retrieval.md has the figures).
K1 = 0.4
#: The usual value (Lucene's).
B = 0.75


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term hashes, each once, and their weights."""

    indices: list[int]
    values: list[float]

    @property
    def total(self) -> float:
        """The sum of all weights: of a question's, what no BM25 score reaches."""
        return math.fsum(self.values)

    def dot(self, other: SparseVector) -> float:
        """Their inner product: of a question's weights with a passage's, the BM25 score."""
        theirs = dict(zip(other.indices, other.values, strict=True))
        mine = zip(self.indices, self.values, strict=True)
        return math.fsum(weight * theirs[term] for term, weight in mine if term in theirs)

    def close_to(self, other: SparseVector, tolerance: float) -> bool:
        """Whether both weigh the same terms, in whatever order, by so little a difference."""
        mine = dict(zip(self.indices, self.values, strict=True))
        theirs = dict(zip(other.indices, other.values, strict=True))
        return mine.keys() == theirs.keys() and all(
            abs(weight - theirs[term]) <= tolerance for term, weight in mine.items()
        )


#: Of a question without a word, or where words play no part.
NO_WORDS = SparseVector([], [])


def passage_weights(
    terms: Sequence[int], counts: Sequence[int], weighing: Weighing
) -> SparseVector:
    """The weights in [0, 1) of a passage's terms; its length counts repetitions."""
    tf = np.asarray(counts, np.float64)  # [terms]
    length = tf.sum() / weighing.average_terms if weighing.average_terms else 1.0
    weights = tf / (tf + weighing.k1 * (1 - B + B * length))
    return SparseVector(list(terms), weights.astype(np.float32).tolist())


def idf(passages: int, holders: NDArray[np.int64]) -> NDArray[np.float64]:
    """ln(1 + (N − n + ½) / (n + ½)), Lucene's: never below zero.

    :param holders: in how many of the passages each term occurs.
    """
    weights: NDArray[np.float64] = np.log1p((passages - holders + 0.5) / (holders + 0.5))
    return weights


class Bm25Index:
    """All passages' weights in memory, by term: exact search, as a collection does it."""

    def __init__(self, passages: Sequence[SparseVector]) -> None:
        sizes = [len(each.indices) for each in passages]
        terms = np.fromiter((t for each in passages for t in each.indices), np.int64, sum(sizes))
        values = np.fromiter((v for each in passages for v in each.values), np.float32, sum(sizes))
        order = np.argsort(terms, kind="stable")
        self.passages = len(passages)
        self._rows = np.repeat(np.arange(len(passages)), sizes)[order]  # [postings]
        self._values = values[order]  # [postings]
        self._terms, self._starts, holders = np.unique(
            terms[order], return_index=True, return_counts=True
        )
        self._ends = self._starts + holders

    def scores(self, question: SparseVector) -> NDArray[np.float32]:
        """The BM25 score of every passage: [passages]."""
        scores = np.zeros(self.passages, np.float32)
        places = np.searchsorted(self._terms, question.indices)
        for term, weight, place in zip(question.indices, question.values, places, strict=True):
            if place < len(self._terms) and self._terms[place] == term:
                of_term = slice(self._starts[place], self._ends[place])
                scores[self._rows[of_term]] += weight * self._values[of_term]
        return scores

    def search(
        self, question: SparseVector, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores of the k best passages that share a term, best first.

        Fewer where fewer share one; ties go to the lower row.
        """
        scores = self.scores(question)
        found = np.flatnonzero(scores)
        best = found[np.argsort(-scores[found], kind="stable")[:k]]
        return best, scores[best]

"""Exact search over vectors in memory: the oracle of the gate and the engine of `realm eval`; and
how several rankings become one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index
from realm.search.vector_index import Query

Item = TypeVar("Item", bound=Hashable)

#: Of Cormack, Clarke and Büttcher 2009, who found that it hardly matters.
RRF_K = 60
#: How far down each ranking counts: an item deeper in one alone is worth little.
DEPTH = 100
BLOCK = 256


def reciprocal_rank_fusion(rankings: Iterable[Sequence[Item]]) -> list[Item]:
    """All items of some rankings, best first: Σ 1 / (k + rank), ranks from 1.

    Cormack, Clarke and Büttcher, SIGIR 2009. Of equal items the one met first stays first.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (RRF_K + rank)
    return sorted(scores, key=lambda item: -scores[item])


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of passages, best first, with their inner products and what w multiplies in f(x, z):
    each [k]."""

    rows: npt.NDArray[np.int64]
    products: npt.NDArray[np.float32]
    words: npt.NDArray[np.float32]

    def best(self, k: int) -> Found:
        return self.reordered(np.arange(min(k, len(self.rows))))

    def reordered(self, places: npt.NDArray[np.int64]) -> Found:
        """Those at some places, in that order."""
        return Found(self.rows[places], self.products[places], self.words[places])


@dataclass(frozen=True, slots=True)
class ExactIndex:
    """Vectors [passages, size] and words of the same passages: what a collection approximates."""

    vectors: Vectors
    words: Bm25Index

    def search(self, query: Query, k: int) -> Found:
        """The k passages that `query.retrieval` ranks first, best first. Fewer where words alone
        choose and fewer share one.
        """
        scores = self.words.scores(query.terms)  # [passages]
        rows = self._ranked(query, k, scores)
        return Found(rows, self.vectors[rows] @ query.vector, query.words(scores[rows]))

    def scores(self, query: Query) -> npt.NDArray[np.float64]:
        """f(x, z) of every passage: [passages]."""
        words = query.words(self.words.scores(query.terms))
        return query.relevance(self.vectors @ query.vector, words)

    def _ranked(
        self, query: Query, k: int, scores: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.int64]:
        match query.retrieval:
            case Retrieval.DENSE:
                return self._by_vector(query.vector, k)
            case Retrieval.BM25:
                return self.words.search(query.terms, k)[0]
            case Retrieval.HYBRID:
                # A collection ranks candidates too, and not all that it holds.
                rows = np.unique(np.concatenate(self._candidates(query, max(k, DEPTH))))
                f = query.relevance(self.vectors[rows] @ query.vector, query.words(scores[rows]))
                best: npt.NDArray[np.int64] = rows[np.argsort(-f, kind="stable")[:k]]
                return best
            case Retrieval.RANK_FUSION:
                rankings = self._candidates(query, DEPTH)
                fused = reciprocal_rank_fusion([ranking.tolist() for ranking in rankings])
                return np.array(fused[:k], np.int64)

    def _candidates(self, query: Query, depth: int) -> list[npt.NDArray[np.int64]]:
        """The best by vectors, and the best by words."""
        return [self._by_vector(query.vector, depth), self.words.search(query.terms, depth)[0]]

    def _by_vector(self, vector: Vectors, k: int) -> npt.NDArray[np.int64]:
        rows: npt.NDArray[np.int64] = top_k(vector[None], self.vectors, k)[0][0]
        return rows


def top_k(
    queries: Vectors, passages: Vectors, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rows and inner products of the k best passages, best first.

    `queries` [n, size], `passages` [m, size] → two arrays [n, min(k, m)]. Ties go to the lower row.
    """
    k = min(k, len(passages))
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK] @ passages.T  # [block, m]
        best = np.argsort(-block, axis=1, kind="stable")[:, :k]
        rows[start : start + BLOCK] = best
        scores[start : start + BLOCK] = np.take_along_axis(block, best, axis=1)
    return rows, scores

"""Exact search over vectors in memory: the oracle of the gate and the engine of `realm eval`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index, SparseVector
from realm.search.fusion import RRF_DEPTH, reciprocal_rank_fusion

BLOCK = 256


@dataclass(frozen=True, slots=True)
class ExactIndex:
    """Vectors [passages, size] and words of the same passages: what a collection approximates."""

    vectors: Vectors
    words: Bm25Index

    def search(
        self, vector: Vectors, terms: SparseVector, way: Retrieval, k: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Rows of the k passages that `way` puts first, best first, and their inner products with
        the question's `vector` [size]. Fewer where words alone choose and fewer share one.
        """
        rows = self._chosen(vector, terms, way, k)
        return rows, self.vectors[rows] @ vector

    def _chosen(
        self, vector: Vectors, terms: SparseVector, way: Retrieval, k: int
    ) -> npt.NDArray[np.int64]:
        match way:
            case Retrieval.DENSE:
                return self._by_vector(vector, k)
            case Retrieval.BM25:
                return self.words.search(terms, k)[0]
            case Retrieval.HYBRID:
                rankings = (
                    self._by_vector(vector, RRF_DEPTH),
                    self.words.search(terms, RRF_DEPTH)[0],
                )
                fused = reciprocal_rank_fusion([ranking.tolist() for ranking in rankings])
                return np.array(fused[:k], np.int64)

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

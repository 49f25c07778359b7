"""Exact search over vectors in memory: the oracle of the gate and the engine of `realm eval`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from realm.vectors import Vectors

BLOCK = 256


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

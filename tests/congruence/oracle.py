"""Exact search in numpy: what every back end must agree with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

DENSE, SPARSE = "dense", "bm25"
SIZE = 16
#: Scores are sums of float32 products, in any order.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Passage:
    id: str
    dense: NDArray[np.float32]  # [SIZE]
    sparse: dict[int, float]
    payload: dict[str, Any]

    def point(self) -> models.PointStruct:
        indices, values = list(self.sparse), list(self.sparse.values())
        return models.PointStruct(
            id=self.id,
            vector={
                DENSE: self.dense.tolist(),
                SPARSE: models.SparseVector(indices=indices, values=values),
            },
            payload=self.payload,
        )


def make_passages(count: int, seed: int = 0) -> list[Passage]:
    """Passages with float32 vectors, distinct scores, ten documents."""
    random = np.random.default_rng(seed)
    return [
        Passage(
            id=str(UUID(bytes=random.bytes(16), version=4)),
            dense=random.standard_normal(SIZE).astype(np.float32),
            sparse={
                int(term): float(weight)
                for term, weight in zip(
                    random.choice(40, size=5, replace=False), random.random(5), strict=True
                )
            },
            payload={
                "document_id": f"document-{number % 10}",
                "document_version": number % 3,
                "ordinal": number // 10,
                "text": f"passage {number}: Ω, naïve, 日本",
                "metadata": {"score": number / 8, "tags": ["a", number], "none": None, "yes": True},
            },
        )
        for number in range(count)
    ]


def exact(
    passages: Iterable[Passage],
    query: NDArray[np.float32],
    limit: int,
    keep: Callable[[Passage], bool] = lambda passage: True,
) -> list[tuple[str, float]]:
    """Ids and inner products of the nearest passages, best first."""
    scored = [(p.id, float(p.dense @ query)) for p in passages if keep(p)]
    return sorted(scored, key=lambda pair: -pair[1])[:limit]


def exact_sparse(
    passages: Iterable[Passage], query: dict[int, float], limit: int
) -> list[tuple[str, float]]:
    """Inner products over shared terms; a passage that shares none is not found."""
    scored = [
        (p.id, sum(weight * p.sparse[term] for term, weight in query.items() if term in p.sparse))
        for p in passages
        if p.sparse.keys() & query.keys()
    ]
    return sorted(scored, key=lambda pair: -pair[1])[:limit]


def agree(found: Iterable[models.ScoredPoint], expected: list[tuple[str, float]]) -> None:
    """Asserts the same ids in the same order with the same scores."""
    pairs = [(point.id, point.score) for point in found]
    assert [pair[0] for pair in pairs] == [pair[0] for pair in expected]
    assert np.allclose(
        [pair[1] for pair in pairs], [pair[1] for pair in expected], atol=TOLERANCE, rtol=TOLERANCE
    )

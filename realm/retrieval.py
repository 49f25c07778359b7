"""The ways to choose passages for a question, by the names that settings and clients use."""

from __future__ import annotations

from enum import StrEnum


class Retrieval(StrEnum):
    """What chooses the passages; f(x, z) and p(z|x) are the model's in any case."""

    DENSE = "dense"
    BM25 = "bm25"
    HYBRID = "hybrid"

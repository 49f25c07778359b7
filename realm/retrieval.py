"""The ways to rank passages for a question, by the names that settings and clients use."""

from __future__ import annotations

from enum import StrEnum


class Retrieval(StrEnum):
    """What ranks the passages; their p(z|x) follows from f(x, z) in any case.

    hybrid: f(x, z) itself; rank_fusion: the rankings by vectors and by words, counting alike.
    """

    DENSE = "dense"
    BM25 = "bm25"
    HYBRID = "hybrid"
    RANK_FUSION = "rank_fusion"

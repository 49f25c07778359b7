"""Several rankings become one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)

#: Of Cormack, Clarke and Büttcher 2009, who found that it hardly matters.
RRF_K = 60
#: How far down each ranking counts: an item deeper in one alone is worth little.
DEPTH = 100


def reciprocal_rank_fusion(rankings: Iterable[Sequence[Item]]) -> list[Item]:
    """All items of some rankings, best first: Σ 1 / (k + rank), ranks from 1.

    Cormack, Clarke and Büttcher, SIGIR 2009. Of equal items the one met first stays first.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (RRF_K + rank)
    return sorted(scores, key=lambda item: -scores[item])

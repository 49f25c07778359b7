"""Recall, ranks and percentiles: pure arithmetic on what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

RECALL_AT = (1, 5, 20)


def recall(ranks: Sequence[int | None], k: int) -> float | None:
    """The share of questions whose rank (from 1; None: not found) is k or better.

    None without questions: a share of nothing is not 0.
    """
    if not ranks:
        return None
    return sum(rank is not None and rank <= k for rank in ranks) / len(ranks)


def first_rank(found: Iterable[Hashable], wanted: Hashable) -> int | None:
    """The rank, from 1, of `wanted` among the distinct items of `found`, best first."""
    seen: set[Hashable] = set()
    for item in found:
        seen.add(item)
        if item == wanted:
            return len(seen)
    return None


def depth_for_documents(document_ids: Sequence[str], documents: int) -> int:
    """How many passages surely hold the best `documents` documents, wherever they rank.

    :param document_ids: of each passage.
    """
    largest = Counter(document_ids).most_common(documents)
    return sum(count for _, count in largest)


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None

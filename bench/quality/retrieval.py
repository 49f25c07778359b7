"""How often a question's own document comes first, by each way to rank passages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.quality.laboratory import Encoded
from bench.quality.tables import Cell, Table
from realm.evaluation.evaluate import document_ranks
from realm.evaluation.report import RECALL_AT, depth_for_documents, recall
from realm.model.config import NORMALISED_SCALE
from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance
from realm.retrieval import Retrieval

RESAMPLES = 2000
#: Of the interval around a gain: 19 of 20.
INTERVAL = (0.025, 0.975)
#: What f(x, z) is compared with.
AGAINST = Retrieval.RANK_FUSION

Ranks = Sequence[int | None]


def by_each_way(encoded: Encoded) -> Table:
    """Dense, words, both rankings alike, f(x, z) as it begins, and f(x, z) as published."""
    found: dict[str, Ranks] = {
        way.value: ranks(encoded, way) for way in Retrieval if way is not Retrieval.HYBRID
    }
    first = Relevance(NORMALISED_SCALE, FIRST_WORD_WEIGHT)
    found["hybrid, s = 20, w = 1"] = ranks(encoded, Retrieval.HYBRID, first)
    found["hybrid"] = ranks(encoded, Retrieval.HYBRID)
    relevance = encoded.system.relevance
    about = (
        f"{len(encoded.corpus.questions)} questions over {len(encoded.passages.passages)}"
        f" passages; published: s = {relevance.scale:.1f}, w = {relevance.word_weight:.2f}"
    )
    columns = (*(f"R@{k}" for k in RECALL_AT), f"gain at R@1 over {AGAINST}", "gain at R@5")
    return Table(about, columns, {name: _row(own, found[AGAINST]) for name, own in found.items()})


def ranks(encoded: Encoded, way: Retrieval, relevance: Relevance | None = None) -> Ranks:
    """Of each question's document, from 1; None: not among the first."""
    ids = [one.document_id for one in encoded.passages.passages]
    found = encoded.search(way, depth_for_documents(ids, max(RECALL_AT)), relevance)
    return document_ranks(encoded.corpus.questions, [each.rows for each in found], ids)


def _row(own: Ranks, against: Ranks) -> tuple[Cell, ...]:
    gains = ["" if own is against else gain(own, against, k) for k in (1, 5)]
    return *(recall(own, k) for k in RECALL_AT), *gains


def gain(own: Ranks, against: Ranks, k: int, seed: int = 0) -> str:
    """By how much recall@k is higher, with its interval by a bootstrap over the questions, which
    both were asked (Efron and Tibshirani 1993, section 13.3)."""
    hits = [
        (rank is not None and rank <= k) - (other is not None and other <= k)
        for rank, other in zip(own, against, strict=True)
    ]
    values = np.array(hits, np.float64)  # [questions]
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, INTERVAL)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"

"""How often a question's own document comes first, by each way to rank passages, and re-ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.quality.laboratory import Encoded
from bench.quality.tables import Cell, Table
from realm.evaluation.evaluate import document_ranks
from realm.evaluation.report import RECALL_AT, depth_for_documents, recall
from realm.evaluation.searching import read
from realm.model.answers import Reading
from realm.model.config import NORMALISED_SCALE
from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance
from realm.retrieval import Retrieval
from realm.search.exact import Found

RESAMPLES = 2000
#: Of the interval around a gain: 19 of 20.
INTERVAL = (0.025, 0.975)
#: So many of the best passages by f(x, z) are read again.
RERANKED = 10

Ranks = Sequence[int | None]


def by_each_way(encoded: Encoded, against: Retrieval, reranked: bool = False) -> Table:
    """Dense, words, both rankings alike, f(x, z) as it begins, and f(x, z) as published.

    :param against: what the gains are over.
    :param reranked: whether a reader ranks the best once more.
    """
    found: dict[str, Ranks] = {
        way.value: ranks(encoded, way) for way in Retrieval if way is not Retrieval.HYBRID
    }
    relevance = encoded.system.relevance
    first = replace(relevance, scale=NORMALISED_SCALE, word_weight=FIRST_WORD_WEIGHT)
    found["hybrid, s = 20, w = 1"] = ranks(encoded, Retrieval.HYBRID, first)
    found["hybrid"] = ranks(encoded, Retrieval.HYBRID)
    if reranked:
        found[f"hybrid, its best {RERANKED} re-ranked by the reader"] = reranked_ranks(encoded)
    about = (
        f"{len(encoded.corpus.questions)} questions over {len(encoded.passages.passages)}"
        f" passages; published: s = {relevance.scale:.1f}, w = {relevance.word_weight:.2f}"
    )
    columns = (*(f"R@{k}" for k in RECALL_AT), f"gain at R@1 over {against}", "gain at R@5")
    return Table(about, columns, {name: _row(own, found[against]) for name, own in found.items()})


def ranks(encoded: Encoded, way: Retrieval, relevance: Relevance | None = None) -> Ranks:
    """Of each question's document, from 1; None: not among the first."""
    return _ranks(encoded, encoded.search(way, _depth(encoded), relevance))


def reranked_ranks(encoded: Encoded) -> Ranks:
    """By f(x, z) and the reader's evidence in each of the best passages: two towers against
    cross-interaction. Of a stored question it reads the answer."""
    found = encoded.search(Retrieval.HYBRID, _depth(encoded))
    passages = encoded.passages.passages
    readings = [
        Reading(
            one.question,
            tuple(passages[row].answer or passages[row].text for row in own.best(RERANKED).rows),
            (0.0,) * len(own.best(RERANKED).rows),
        )
        for one, own in zip(encoded.corpus.questions, found, strict=True)
    ]
    added = [np.array(each.added) for each in read(encoded.system, readings)]  # [≤ RERANKED] each
    return _ranks(encoded, [_reordered(encoded, *each) for each in zip(found, added, strict=True)])


def _reordered(encoded: Encoded, found: Found, added: NDArray[np.float64]) -> Found:
    best = found.best(len(added))
    scores = encoded.system.relevance(best.products, best.words) + added
    rest = np.arange(len(added), len(found.rows))
    return found.reordered(np.append(np.argsort(-scores, kind="stable"), rest))


def _depth(encoded: Encoded) -> int:
    ids = [one.document_id for one in encoded.passages.passages]
    return depth_for_documents(ids, max(RECALL_AT))


def _ranks(encoded: Encoded, found: Sequence[Found]) -> Ranks:
    ids = [one.document_id for one in encoded.passages.passages]
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

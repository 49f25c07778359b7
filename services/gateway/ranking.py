"""The passages found for a question, scored and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from realm.model.relevance import log_probabilities
from realm.search.vector_index import Hit, Query, relevance_of


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A passage with its score and log p(z|x) among those found. The score is f(x, z), and where
    passages were re-ranked `reading` is what the reader adds to it."""

    hit: Hit
    score: float
    log_probability: float
    reading: float = 0.0


def score_passages(hits: Sequence[Hit], query: Query) -> list[Retrieved]:
    """f(x, z) of each, and log p(z|x) among those found."""
    scores = relevance_of(hits, query)
    priors = log_probabilities(np.array(scores)).tolist()
    return [Retrieved(*each) for each in zip(hits, scores, priors, strict=True)]


def rerank(
    read: Sequence[Retrieved],
    rest: Sequence[Retrieved],
    added: Sequence[float],
) -> list[Retrieved]:
    """By f(x, z) and what is added to it, best first; those that were not read follow as they were.

    :param added: to each of the passages read, by the reader or a cross-encoder.
    """
    scores = [one.score + more for one, more in zip(read, added, strict=True)]
    every = [*scores, *(one.score for one in rest)]
    priors = log_probabilities(np.array(every)).tolist()
    ranked = [
        Retrieved(one.hit, score, prior, more)
        for one, score, prior, more in zip(read, scores, priors, added, strict=False)
    ]
    ranked.sort(key=lambda one: -one.score)
    unread = zip(rest, priors[len(read) :], strict=True)
    return [*ranked, *(replace(one, log_probability=prior) for one, prior in unread)]

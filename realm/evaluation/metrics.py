"""Recall, ranks and percentiles: pure arithmetic on what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from realm.text.questions import Question
from realm.text.answers import is_spaceless, normalise_answer

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


def contains_answer(text: str, normalised: str, question: Question) -> bool:
    """Whether a passage holds an answer: whole words after normalisation, or the expression.

    :param normalised: `normalise_answer(text)`, which many questions share.
    """
    if question.answer_pattern is not None and question.answer_pattern.search(text):
        return True
    return any(_holds_words(normalised, normalise_answer(answer)) for answer in question.answers)


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _holds_words(text: str, words: str) -> bool:
    if not words:
        return False
    at = text.find(words)
    while at >= 0:
        end = at + len(words)
        if not _one_word(text[at - 1 : at], words[0]) and not _one_word(
            words[-1], text[end : end + 1]
        ):
            return True
        at = text.find(words, at + 1)
    return False


def _one_word(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word; either may be missing."""
    return left.isalnum() and right.isalnum() and not (is_spaceless(left) or is_spaceless(right))

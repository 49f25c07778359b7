"""Answers that were stored with their questions, as of a FAQ.

A passage that is such a question has p(y|z,x) = 1 for the answer stored with it: p(z|x) is its
share, and what is read in the other passages shares the rest of 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from realm.model.answers import Answers, FoundAnswer, Reading, Support
from realm.text.questions import normalise_answer


def to_read(reading: Reading) -> tuple[Reading, list[int]]:
    """The part of a question's passages that a reader reads, and their places among all."""
    if not any(reading.stored):
        return replace(reading, stored=()), list(range(len(reading.passages)))
    rows = [row for row, answer in enumerate(reading.stored) if not answer]
    passages = tuple(reading.passages[row] for row in rows)
    priors = tuple(reading.log_priors[row] for row in rows)
    return Reading(reading.question, passages, priors, reading.answers), rows


def with_stored(reading: Reading, read: Answers, rows: Sequence[int]) -> Answers:
    """All answers of a reading, most probable first, given those of its part `to_read`.

    `evidence` of a passage that is not read is 0, and so is what is `added`: nothing speaks for or
    against it.
    """
    if len(rows) == len(reading.passages):
        return read
    stored = _stored(reading)
    left = max(0.0, 1.0 - sum(one.probability for one in stored))
    found = [
        replace(
            one,
            probability=left * one.probability,
            supports=tuple(replace(s, passage=rows[s.passage]) for s in one.supports),
        )
        for one in read.found
    ]
    ranked = sorted([*stored, *found], key=lambda one: -one.probability)[: reading.answers]
    no_answer = left * read.no_answer
    evidence, added = (
        _of_all(values, rows, len(reading.passages)) for values in (read.evidence, read.added)
    )
    best = max((one.probability for one in stored), default=0.0)
    abstains = read.abstains and no_answer > best
    return Answers(tuple(ranked), no_answer, abstains, evidence, added)


def _of_all(values: Sequence[float], rows: Sequence[int], passages: int) -> tuple[float, ...]:
    """Values of the rows that were read, among 0 for the others: [passages]."""
    found = [0.0] * passages
    for row, value in zip(rows, values, strict=False):
        found[row] = value
    return tuple(found)


def _stored(reading: Reading) -> list[FoundAnswer]:
    """Each answer with the stored questions that it answers, the most probable first."""
    by_text: dict[str, list[int]] = {}
    for row, answer in enumerate(reading.stored):
        if answer:
            by_text.setdefault(normalise_answer(answer), []).append(row)
    found = []
    for rows in by_text.values():
        rows.sort(key=lambda row: -reading.log_priors[row])
        supports = tuple(
            Support(row, math.exp(reading.log_priors[row]), 1.0, 0, len(reading.passages[row]))
            for row in rows
        )
        probability = sum(one.prior for one in supports)
        found.append(FoundAnswer(reading.stored[rows[0]], probability, supports, stored=True))
    return found

"""Answers read in the best passages, and how long one question takes from end to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from realm.evaluation.parallel import OnProgress, no_progress, one_thread_each, parallel_map
from realm.evaluation.searching import PassageVectors, Searcher, encode_questions
from realm.evaluation.systems import System
from realm.model.answering import Answers, Reading, answer_questions
from realm.model.relevance import log_probabilities
from realm.search.exact import Found

QUESTION_BATCH = 8


def make_reading(system: System, index: PassageVectors, question: str, found: Found) -> Reading:
    """The question with its passages and log p(z|x) of each."""
    priors = log_probabilities(system.relevance(found.products, found.words))  # [k]
    texts = tuple(index.passages[row].text for row in found.rows)
    return Reading(question, texts, tuple(priors.tolist()))


def rerank(
    system: System,
    index: PassageVectors,
    questions: Sequence[str],
    found: Sequence[Found],
    on_progress: OnProgress = no_progress,
) -> list[Found]:
    """The best `system.rerank` passages of each question by f(x, z) + a·evidence, as a gateway
    re-ranks them; the others follow as they were."""
    best = [own.best(system.rerank) for own in found]
    readings = [
        make_reading(system, index, question, own)
        for question, own in zip(questions, best, strict=True)
    ]
    answers = read(system, readings, on_progress)
    ranked = []
    for own, whole, one in zip(best, found, answers, strict=True):
        scores = system.relevance(own.products, own.words)  # [k]
        scores = scores + system.reader.answers.evidence * np.array(one.evidence)
        order = np.argsort(-scores, kind="stable")
        ranked.append(whole.reordered(np.append(order, np.arange(len(order), len(whole.rows)))))
    return ranked


def best_answer_texts(
    system: System, readings: Sequence[Reading], on_progress: OnProgress = no_progress
) -> list[str]:
    """The best answer's text to each question; empty where nothing is readable.

    Even where the null document wins: exact match and F1 ask for the reader's best span.
    """

    answers = read(system, readings, on_progress)
    return [one.found[0].text if one.found else "" for one in answers]


def read(
    system: System, readings: Sequence[Reading], on_progress: OnProgress = no_progress
) -> list[Answers]:
    """Answers with their probabilities, and P(no answer)."""

    def work(share: Sequence[Reading], told: Callable[[int], None]) -> list[Answers]:
        answers: list[Answers] = []
        for start in range(0, len(share), QUESTION_BATCH):
            some = share[start : start + QUESTION_BATCH]
            answers += answer_questions(system.reader, system.inputs, some, dtype=system.dtype)
            told(len(answers))
        return answers

    return parallel_map(work, readings, system.reader.device, on_progress)


def latencies(
    system: System,
    index: PassageVectors,
    searcher: Searcher,
    questions: Sequence[str],
    passages: int,
) -> list[float]:
    """Milliseconds from a question to its answer, one question at a time: encode, search, read.

    With one compute thread, as a gateway has by default.
    """
    times = []
    with one_thread_each():
        for question in questions:
            began = time.perf_counter()
            query = encode_questions(system, [question])
            (found,) = searcher.search([question], query, passages)
            reading = make_reading(system, index, question, found)
            best_answer_texts(system, [reading])
            times.append((time.perf_counter() - began) * 1000)
    return times

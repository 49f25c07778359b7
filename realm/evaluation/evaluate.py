"""One evaluation: passages encoded, questions searched exactly, answers read, figures drawn up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from realm.corpus.documents import Document
from realm.evaluation import report
from realm.evaluation.metrics import RECALL_AT, depth_for_documents, first_rank, mean, percentile
from realm.evaluation.parallel import OnProgress, no_progress
from realm.evaluation.reading import latencies, make_reading, read_answers
from realm.evaluation.report import Report, Shares
from realm.evaluation.searching import (
    Found,
    PassageVectors,
    Searcher,
    cut,
    encode_passages,
    encode_questions,
)
from realm.evaluation.systems import System
from realm.records.vectors import Vectors
from realm.text import answers as scoring
from realm.text.answers import normalise_answer
from realm.text.questions import Question, contains_answer, is_exact_match

LATENCY_SAMPLE = 50
WARM_UP = 3

#: Makes a listener for a named piece of work.
Progress = Callable[[str], OnProgress]


def no_progress_bars(_name: str) -> OnProgress:
    return no_progress


def document_recall(
    index: PassageVectors, queries: Vectors, questions: Sequence[Question]
) -> Shares:
    """R@1, R@5, R@20 by document; `queries` [questions, size]."""
    ids = [passage.document_id for passage in index.passages]
    rows, products = index.search(queries, depth_for_documents(ids, max(RECALL_AT)))
    found = Found(list(rows), list(products))
    return report.recalls(_document_ranks(questions, found, ids))


def evaluate(
    system: System,
    documents: Sequence[Document],
    questions: Sequence[Question],
    *,
    passages: int,
    progress: Progress = no_progress_bars,
) -> Report:
    """:param passages: how many the reader reads for each question.

    :raises InvalidInput: if a question has no word.
    """
    began = time.monotonic()
    index = encode_passages(system, cut(documents, system.inputs), progress("passages"))
    asked = [question.question for question in questions]
    queries = encode_questions(system, asked, progress("questions"))
    ids = [passage.document_id for passage in index.passages]
    depth = max(passages, max(RECALL_AT), depth_for_documents(ids, max(RECALL_AT)))
    searcher = Searcher(index, system.retrieval)
    found = searcher.search(asked, queries, depth)
    read = _read(system, index, questions, found, passages, progress("answers"))
    times = _timed(system, index, searcher, asked, passages)
    return Report(
        system=system.name,
        documents=report.recalls(_document_ranks(questions, found, ids)),
        answers=report.recalls(_answer_ranks(questions, found, index)),
        em=mean([float(is_exact_match(question, answer)) for question, answer in read]),
        f1=mean([scoring.f1(answer, one.answers) for one, answer in read if one.answers]),
        latency_ms={"p50": percentile(times, 50), "p99": percentile(times, 99)},
        extras={
            "questions": len(questions),
            "documents_given": len(documents),
            "passages": len(index.passages),
            "passages_read": passages,
            "unknown_documents": _unknown(questions, documents),
            "retrieval": system.retrieval,
            "model": {"base": system.base, "step": system.step, "scale": system.scale},
            "machine": report.machine(
                torch.get_num_threads(), str(system.passage.device), str(system.dtype)
            ),
            "version": report.version(),
            "commit": report.commit(),
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def _document_ranks(
    questions: Sequence[Question], found: Found, document_ids: Sequence[str]
) -> list[int | None]:
    """Of the questions that name their document: the rank of its best passage, by document."""
    return [
        first_rank((document_ids[row] for row in rows), question.document_id)
        for question, rows in zip(questions, found.rows, strict=True)
        if question.document_id is not None
    ]


def _answer_ranks(
    questions: Sequence[Question], found: Found, index: PassageVectors
) -> list[int | None]:
    """Of the questions with answers: the rank of the first passage that holds one."""
    normalised = [normalise_answer(passage.text) for passage in index.passages]

    def rank(question: Question, rows: NDArray[np.int64]) -> int | None:
        holding = (
            number
            for number, row in enumerate(rows[: max(RECALL_AT)], 1)
            if contains_answer(index.passages[row].text, normalised[row], question)
        )
        return next(holding, None)

    return [
        rank(question, rows)
        for question, rows in zip(questions, found.rows, strict=True)
        if question.has_answer
    ]


def _read(
    system: System,
    index: PassageVectors,
    questions: Sequence[Question],
    found: Found,
    passages: int,
    on_progress: OnProgress,
) -> list[tuple[Question, str]]:
    """The questions with answers, and what the reader says."""
    chosen = [number for number, question in enumerate(questions) if question.has_answer]
    readings = [
        make_reading(
            system,
            index,
            questions[number].question,
            found.rows[number][:passages],
            found.products[number][:passages],
        )
        for number in chosen
    ]
    texts = read_answers(system, readings, on_progress)
    return [(questions[number], text) for number, text in zip(chosen, texts, strict=True)]


def _timed(
    system: System,
    index: PassageVectors,
    searcher: Searcher,
    asked: Sequence[str],
    passages: int,
) -> list[float]:
    """Milliseconds of questions taken evenly from all; the first few only warm up."""
    step = max(1, len(asked) // LATENCY_SAMPLE)
    sample = list(asked[::step][:LATENCY_SAMPLE])
    latencies(system, index, searcher, sample[:WARM_UP], passages)
    return latencies(system, index, searcher, sample, passages)


def _unknown(questions: Sequence[Question], documents: Sequence[Document]) -> int:
    """Questions whose document was not given: they count as not found."""
    known = {document.id for document in documents}
    return sum(one.document_id is not None and one.document_id not in known for one in questions)

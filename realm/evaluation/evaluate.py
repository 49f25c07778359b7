"""One evaluation: passages encoded, questions searched exactly, answers read, figures computed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realm.corpus.documents import Document
from realm.evaluation.parallel import OnProgress, Progress, no_progress_bars
from realm.evaluation.report import (
    RECALL_AT,
    Report,
    depth_for_documents,
    exact_match_share,
    first_rank,
    mean_f1,
    percentiles,
    provenance,
    recalls,
)
from realm.evaluation.searching import (
    PassageVectors,
    Searcher,
    best_answer_texts,
    cpu_costs,
    encode_passages,
    encode_questions,
    latencies,
    make_reading,
    rerank,
    split_documents,
)
from realm.evaluation.systems import System
from realm.search.exact import Found
from realm.text.questions import Question, contains_answer, normalise_answer

LATENCY_SAMPLE = 50
COST_SAMPLE = 20
WARM_UP = 3


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
    index = encode_passages(system, split_documents(documents, system.inputs), progress("passages"))
    asked = [question.question for question in questions]
    queries = encode_questions(system, asked, progress("questions"))
    ids = [passage.document_id for passage in index.passages]
    depth = max(passages, max(RECALL_AT), depth_for_documents(ids, max(RECALL_AT)))
    searcher = Searcher(index, system.retrieval, system.relevance)
    found = searcher.search(asked, queries, depth)
    read = _read(system, index, questions, found, passages, progress("answers"))
    if system.rerank:
        found = rerank(system, index, asked, found, progress("re-ranking"))
    sample = latency_sample(asked)
    latencies(system, index, searcher, sample[:WARM_UP], passages)
    times = latencies(system, index, searcher, sample, passages)
    return Report(
        system=system.name,
        documents=recalls(document_ranks(questions, [each.rows for each in found], ids)),
        answers=recalls(_answer_ranks(questions, found, index)),
        em=exact_match_share(read),
        f1=mean_f1(read),
        latency_ms=percentiles(times),
        extras={
            "questions": len(questions),
            "documents_given": len(documents),
            "passages": len(index.passages),
            "passages_read": passages,
            "unknown_documents": _count_unknown_documents(questions, documents),
            "retrieval": system.retrieval,
            "reranked": system.rerank,
            "cross_encoder": system.cross_encoder.config.name if system.cross_encoder else "",
            "model": {
                "base": system.base,
                "step": system.step,
                "scale": system.relevance.scale,
                "word_weight": system.relevance.word_weight,
            },
            "cpu_ms": cpu_costs(system, index, searcher, sample[:COST_SAMPLE], passages),
            **provenance(system.passage.device, system.dtype),
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def latency_sample(asked: Sequence[str]) -> list[str]:
    """Questions taken evenly from all, for timings one at a time."""
    step = max(1, len(asked) // LATENCY_SAMPLE)
    return list(asked[::step][:LATENCY_SAMPLE])


def document_ranks(
    questions: Sequence[Question], rows: Sequence[NDArray[np.int64]], document_ids: Sequence[str]
) -> list[int | None]:
    """Of the questions that name their document: its rank among the documents found, or that of
    another that answers as well.

    :param rows: passages found for each question, best first.
    :param document_ids: of each passage.
    """
    return [
        first_rank((document_ids[row] for row in found), question.document_ids)
        for question, found in zip(questions, rows, strict=True)
        if question.document_id is not None
    ]


def _answer_ranks(
    questions: Sequence[Question], found: Sequence[Found], index: PassageVectors
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
        rank(question, own.rows)
        for question, own in zip(questions, found, strict=True)
        if question.has_answer
    ]


def _read(
    system: System,
    index: PassageVectors,
    questions: Sequence[Question],
    found: Sequence[Found],
    passages: int,
    on_progress: OnProgress,
) -> list[tuple[Question, str]]:
    """The questions with answers, and what the reader says."""
    chosen = [number for number, question in enumerate(questions) if question.has_answer]
    readings = [
        make_reading(system, index, questions[number].question, found[number].best(passages))
        for number in chosen
    ]
    texts = best_answer_texts(system, readings, on_progress)
    return [(questions[number], text) for number, text in zip(chosen, texts, strict=True)]


def _count_unknown_documents(questions: Sequence[Question], documents: Sequence[Document]) -> int:
    """Questions whose document was not given: they count as not found."""
    known = {document.id for document in documents}
    return sum(one.document_id is not None and one.document_id not in known for one in questions)

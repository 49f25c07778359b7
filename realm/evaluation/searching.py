"""Documents in memory: cut, encoded, searched exactly by vectors, words or both, and read; and how
long one question takes from end to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document
from realm.evaluation.parallel import OnProgress, no_progress, one_thread_each, parallel_map
from realm.evaluation.systems import System
from realm.model.answering import answer_questions
from realm.model.answers import Answers, Reading
from realm.model.cross_encoder import pair_text
from realm.model.frozen_encoder import FrozenEncoder
from realm.model.inputs import Encoded, InputBuilder
from realm.model.relevance import Relevance, log_probabilities
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index
from realm.search.exact import ExactIndex, Found, top_k
from realm.search.queries import QueryMaker
from realm.search.vector_index import Query
from realm.search.word_statistics import WordStatistics

QUESTION_BATCH = 8


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """All passages and their vectors [passages, size]."""

    passages: list[Passage]
    vectors: Vectors

    def search(self, queries: Vectors, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and inner products of the k best passages: two arrays [queries, k]."""
        return top_k(queries, self.vectors, k)


class Searcher:
    """All passages, searched as a collection is, but exactly."""

    def __init__(self, passages: PassageVectors, way: Retrieval, relevance: Relevance) -> None:
        statistics = WordStatistics.of(passages.passages)
        self._queries = QueryMaker(relevance, statistics)
        self._way = way
        weighed = [statistics.passage(each.terms, each.term_counts) for each in passages.passages]
        self._index = ExactIndex(passages.vectors, Bm25Index(weighed))

    def search(self, questions: Sequence[str], queries: Vectors, k: int) -> list[Found]:
        """:param queries: the questions' vectors [questions, size]."""
        return self.find(self.queries(questions, queries), k)

    def queries(self, questions: Sequence[str], vectors: Vectors) -> list[Query]:
        """What the index is asked for each; `vectors` [questions, size] are theirs."""
        return [
            self._queries.query(question, vector, self._way)
            for question, vector in zip(questions, vectors, strict=True)
        ]

    def find(self, queries: Sequence[Query], k: int) -> list[Found]:
        return [self._index.search(query, k) for query in queries]

    def scores(self, question: str, query: Vectors) -> NDArray[np.float64]:
        """f(x, z) of every passage: [passages]; `query` [size] is the question's vector."""
        return self._index.scores(self._queries.query(question, query))


def split_documents(documents: Iterable[Document], inputs: InputBuilder) -> list[Passage]:
    return [
        passage
        for document in documents
        for passage in split_document(document, version=0, inputs=inputs)
    ]


def encode_passages(
    system: System, passages: list[Passage], on_progress: OnProgress = no_progress
) -> PassageVectors:
    inputs = [system.inputs.passage(one.title_ids, one.body_ids) for one in passages]
    return PassageVectors(passages, _encode(system.passage, inputs, on_progress))


def encode_questions(
    system: System, questions: Sequence[str], on_progress: OnProgress = no_progress
) -> Vectors:
    """Vectors [questions, size].

    :raises InvalidInput: if nothing is left of a question after normalisation.
    """
    inputs = [system.inputs.query(question) for question in questions]
    return _encode(system.query, inputs, on_progress)


def _encode(encoder: FrozenEncoder, inputs: Sequence[Encoded], on_progress: OnProgress) -> Vectors:
    def work(share: Sequence[Encoded], told: Callable[[int], None]) -> list[Vectors]:
        return list(encoder.encode(share, on_batch=lambda progress: told(progress.done)))

    rows = parallel_map(work, inputs, encoder.device, on_progress)
    return np.array(rows, np.float32).reshape(-1, encoder.embedding_size)


def make_reading(system: System, index: PassageVectors, question: str, found: Found) -> Reading:
    """The question with its passages and log p(z|x) of each."""
    priors = log_probabilities(system.relevance(found.products, found.words))  # [k]
    texts = tuple(index.passages[row].text for row in found.rows)
    stored = tuple(index.passages[row].answer for row in found.rows)
    return Reading(question, texts, tuple(priors.tolist()), stored=stored)


def rerank(
    system: System,
    index: PassageVectors,
    questions: Sequence[str],
    found: Sequence[Found],
    on_progress: OnProgress = no_progress,
) -> list[Found]:
    """The best `system.rerank` passages of each question by f(x, z) and what the cross-encoder or
    the reader adds to it, as a gateway ranks them; the others follow as they were."""
    best = [own.best(system.rerank) for own in found]
    added = _added(system, index, questions, best, on_progress)
    ranked = []
    for own, whole, more in zip(best, found, added, strict=True):
        scores = system.relevance(own.products, own.words) + np.array(more)  # [k]
        order = np.argsort(-scores, kind="stable")
        ranked.append(whole.reordered(np.append(order, np.arange(len(order), len(whole.rows)))))
    return ranked


def _added(
    system: System,
    index: PassageVectors,
    questions: Sequence[str],
    best: Sequence[Found],
    on_progress: OnProgress,
) -> list[list[float]]:
    """What re-ranking adds to f(x, z) of each question's best passages."""
    if (cross := system.cross_encoder) is None:
        readings = [
            make_reading(system, index, question, own)
            for question, own in zip(questions, best, strict=True)
        ]
        return [list(one.added) for one in read(system, readings, on_progress)]

    def work(
        share: Sequence[list[tuple[str, str]]], told: Callable[[int], None]
    ) -> list[list[float]]:
        scored = []
        for pairs in share:
            logits = cross.scores(pairs, dtype=system.dtype)
            scored.append([cross.config.weight * each for each in logits])
            told(len(scored))
        return scored

    pairs = [
        [
            (question, pair_text(index.passages[row].title, index.passages[row].text))
            for row in own.rows
        ]
        for question, own in zip(questions, best, strict=True)
    ]
    return parallel_map(work, pairs, cross.device, on_progress)


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


def cpu_costs(
    system: System,
    index: PassageVectors,
    searcher: Searcher,
    questions: Sequence[str],
    passages: int,
) -> dict[str, float]:
    """CPU milliseconds of each part of one question, a mean: encode, search, read, and re-rank
    where the system does. Unlike latencies they hardly depend on what else the machine does."""
    spent: dict[str, float] = {}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[name] = spent.get(name, 0.0) + time.process_time() - began

    with one_thread_each():
        for question in questions:
            with part("encode"):
                query = encode_questions(system, [question])
            with part("search"):
                (found,) = searcher.search([question], query, max(passages, system.rerank))
            with part("read"):
                reading = make_reading(system, index, question, found.best(passages))
                best_answer_texts(system, [reading])
            if system.rerank:
                with part("rerank"):
                    rerank(system, index, [question], [found])
    return {name: round(1000 * seconds / len(questions), 2) for name, seconds in spent.items()}

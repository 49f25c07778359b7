"""Documents in memory: cut, encoded, and searched exactly, by vectors, by words or by both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document
from realm.evaluation.parallel import OnProgress, no_progress, parallel_map
from realm.evaluation.systems import System
from realm.model.encoders import Encoder, encode
from realm.model.inputs import Encoded, InputBuilder
from realm.model.relevance import Relevance
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index
from realm.search.exact import ExactIndex, Found, top_k
from realm.search.queries import QueryMaker
from realm.search.word_statistics import WordStatistics


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
        return [
            self._index.search(self._queries.query(question, query, self._way), k)
            for question, query in zip(questions, queries, strict=True)
        ]

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
    return PassageVectors(passages, _encode(system, system.passage, inputs, on_progress))


def encode_questions(
    system: System, questions: Sequence[str], on_progress: OnProgress = no_progress
) -> Vectors:
    """Vectors [questions, size].

    :raises InvalidInput: if nothing is left of a question after normalisation.
    """
    inputs = [system.inputs.query(question) for question in questions]
    return _encode(system, system.query, inputs, on_progress)


def _encode(
    system: System, encoder: Encoder, inputs: Sequence[Encoded], on_progress: OnProgress
) -> Vectors:
    def work(share: Sequence[Encoded], told: Callable[[int], None]) -> list[Vectors]:
        vectors = encode(
            encoder,
            share,
            system.inputs.pad,
            dtype=system.dtype,
            on_batch=lambda progress: told(progress.done),
        )
        return list(vectors)

    rows = parallel_map(work, inputs, encoder.device, on_progress)
    return np.array(rows, np.float32).reshape(-1, encoder.embedding_size)

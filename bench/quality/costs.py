"""What a search and an answer cost, with and without each part: one question at a time, by one
thread, over passages in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bench.quality.laboratory import Encoded
from bench.quality.retrieval import RERANKED
from bench.quality.tables import Cell, Table
from realm.evaluation.evaluate import latency_sample
from realm.evaluation.parallel import one_thread_each
from realm.evaluation.report import percentile
from realm.evaluation.searching import (
    Searcher,
    best_answer_texts,
    encode_questions,
    make_reading,
    rerank,
)
from realm.retrieval import Retrieval

#: An answer's default.
READ = 5
WARM_UP = 3
COLUMNS = ("CPU ms", "p50 ms", "p99 ms")


def costs(encoded: Encoded) -> Table:
    """Each row is a whole request; they are asked in turns, so that a busy moment is shared."""
    asked = latency_sample([one.question for one in encoded.corpus.questions])
    requests = _requests(encoded)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in requests}
    with one_thread_each():
        for question in [*asked[:WARM_UP], *asked]:
            for name, request in requests.items():
                spent[name].append(_timed(request, question))
    about = f"{len(asked)} questions over {len(encoded.passages.passages)} passages"
    rows = {name: _row(times[WARM_UP:]) for name, times in spent.items()}
    return Table(f"{about}, one at a time, one thread", COLUMNS, rows)


def _requests(encoded: Encoded) -> dict[str, Callable[[str], object]]:
    system, index = encoded.system, encoded.passages
    searchers = {way: Searcher(index, way, system.relevance) for way in Retrieval}
    reranking = replace(system, rerank=RERANKED)

    def search(way: Retrieval, question: str) -> object:
        return searchers[way].search([question], encode_questions(system, [question]), READ)

    def words(question: str) -> object:
        none = np.zeros((1, index.vectors.shape[1]), np.float32)
        return searchers[Retrieval.BM25].search([question], none, READ)

    def reranked(question: str) -> object:
        vectors = encode_questions(system, [question])
        found = searchers[Retrieval.HYBRID].search([question], vectors, RERANKED)
        return rerank(reranking, index, [question], found)

    def answer(way: Retrieval, question: str) -> object:
        vectors = encode_questions(system, [question])
        (found,) = searchers[way].search([question], vectors, READ)
        return best_answer_texts(system, [make_reading(system, index, question, found)])

    return {
        "a search by words alone": words,
        "a search by vectors": partial(search, Retrieval.DENSE),
        "a search by f(x, z)": partial(search, Retrieval.HYBRID),
        f"… its best {RERANKED} re-ranked by the reader": reranked,
        f"an answer from {READ} passages by vectors": partial(answer, Retrieval.DENSE),
        f"an answer from {READ} passages by f(x, z)": partial(answer, Retrieval.HYBRID),
    }


def _timed(request: Callable[[str], object], question: str) -> tuple[float, float]:
    """CPU and wall milliseconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    request(question)
    return 1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)


def _row(times: Sequence[tuple[float, float]]) -> tuple[Cell, ...]:
    walls = [wall for _, wall in times]
    mean = sum(cpu for cpu, _ in times) / len(times)
    return mean, percentile(walls, 50), percentile(walls, 99)

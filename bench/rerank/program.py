"""What re-ranking is worth: SQuAD's dev questions by vectors, by f(x, z), and re-ranked by the
reader.

Two towers against cross-interaction: the reader reads the best passages by f(x, z) once, which
gives their new order and the answers. Vectors and each fifty questions are kept in the folder of
`--keep`: broken off, or out of `--minutes`, it goes on from there; figures are of the questions
done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.claims import Result, at_least
from bench.datasets import any_dataset, distractors
from bench.harness import Bench, Context
from realm.corpus.documents import Document
from realm.errors import InvalidInput
from realm.evaluation.report import first_rank, recall
from realm.evaluation.searching import (
    PassageVectors,
    Searcher,
    encode_passages,
    encode_questions,
    make_reading,
    read,
    split_documents,
)
from realm.evaluation.systems import System, base_system
from realm.model.runtime import best_dtype, set_threads
from realm.retrieval import Retrieval
from realm.search.exact import Found
from realm.settings import load_settings
from realm.text.questions import exact_match, f1

CHUNK = 50
DEPTH = 100
ROWS = ("dense", "hybrid", "reranked")


@dataclass(frozen=True, slots=True)
class Parameters:
    """`questions`: 0 for all; the best `rerank` passages are read."""

    questions: int
    documents: int
    rerank: int
    minutes: float
    threads: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one question: the rank of its document by each row, and what was answered."""

    ranks: dict[str, int | None]
    em: bool | None
    f1: float | None


class Trials:
    """Passages encoded once; questions in chunks."""

    def __init__(self, parameters: Parameters, folder: Path) -> None:
        device = torch.device("cpu")
        self._rerank = parameters.rerank
        self._folder = folder
        self._system: System = base_system(load_settings(), device, best_dtype(device))
        texts = any_dataset(0)
        if parameters.documents:
            texts = texts.first(parameters.documents)
        documents = list(texts.documents)
        if not parameters.documents:
            documents += distractors()
        self.questions = texts.questions[: parameters.questions or None]
        self.source, self.documents = texts.source, len(documents)
        self._index = self._encode(documents)
        self._ids = [one.document_id for one in self._index.passages]
        self._searchers = {
            way: Searcher(self._index, way, self._system.relevance)
            for way in (Retrieval.DENSE, Retrieval.HYBRID)
        }

    def chunk(self, first: int) -> list[Outcome]:
        file = self._folder / "chunks" / f"{first:05d}.json"
        if not file.exists():
            found = self._measure(first)
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"ranks": one.ranks, "em": one.em, "f1": one.f1} for one in found]
            file.write_text(json.dumps(rows))
        return [Outcome(**row) for row in json.loads(file.read_bytes())]

    def _measure(self, first: int) -> list[Outcome]:
        asked = self.questions[first : first + CHUNK]
        words = [one.question for one in asked]
        queries = encode_questions(self._system, words)
        dense = self._searchers[Retrieval.DENSE].search(words, queries, DEPTH)
        hybrid = self._searchers[Retrieval.HYBRID].search(words, queries, DEPTH)
        best = [each.best(self._rerank) for each in hybrid]
        readings = [
            make_reading(self._system, self._index, question, own)
            for question, own in zip(words, best, strict=True)
        ]
        answers = read(self._system, readings)
        outcomes = []
        for number, one in enumerate(asked):
            own, said = best[number], answers[number]
            scores = self._system.relevance(own.products, own.words) + np.array(said.added)  # [k]
            order = np.argsort(-scores, kind="stable")
            rest = np.arange(len(order), len(hybrid[number].rows))
            ranked = hybrid[number].reordered(np.append(order, rest))
            found = (dense[number], hybrid[number], ranked)
            text = said.found[0].text if said.found else ""
            outcomes.append(
                Outcome(
                    {
                        row: self._rank(each, one.document_id)
                        for row, each in zip(ROWS, found, strict=True)
                    },
                    exact_match(text, one.answers) if one.answers else None,
                    f1(text, one.answers) if one.answers else None,
                )
            )
        return outcomes

    def _rank(self, found: Found, document_id: str) -> int | None:
        return first_rank((self._ids[row] for row in found.rows), document_id)

    def _encode(self, documents: Sequence[Document]) -> PassageVectors:
        passages = split_documents(documents, self._system.inputs)
        file = self._folder / f"vectors-{len(passages)}.npy"
        if not file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            whole = file.with_suffix(".part.npy")
            np.save(whole, encode_passages(self._system, passages).vectors)
            whole.replace(file)
        return PassageVectors(passages, np.load(file))


def observe(parameters: Parameters, context: Context) -> tuple[list[Outcome], dict[str, object]]:
    """:raises InvalidInput: if there was no time for a single chunk."""
    set_threads(parameters.threads)
    until = time.monotonic() + parameters.minutes * 60
    trials = Trials(parameters, context.folder)
    outcomes: list[Outcome] = []
    for first in range(0, len(trials.questions), CHUNK):
        if time.monotonic() > until:
            break
        outcomes += trials.chunk(first)
    if not outcomes:
        raise InvalidInput("no question was asked within --minutes: give more")
    about = {
        "texts": trials.source,
        "documents": trials.documents,
        "questions": len(trials.questions),
        "done": len(outcomes),
        "read": parameters.rerank,
    }
    return outcomes, about


def judge(parameters: Parameters, run: tuple[list[Outcome], dict[str, object]]) -> Result:
    outcomes, about = run
    ranks = {row: [one.ranks[row] for one in outcomes] for row in ROWS}
    shares = {
        row: {f"r@{k}": round(recall(own, k) or 0.0, 4) for k in (1, 5, 20)}
        for row, own in ranks.items()
    }
    read_ = [one for one in outcomes if one.em is not None and one.f1 is not None]
    figures: dict[str, object] = {**about, **shares}
    claims = [
        at_least(
            "R@1 re-ranked, less that by f(x, z)",
            shares["reranked"]["r@1"] - shares["hybrid"]["r@1"],
            0.0,
        )
    ]
    if read_:
        figures["em"] = round(100 * sum(bool(one.em) for one in read_) / len(read_), 1)
        figures["f1"] = round(100 * sum(one.f1 or 0.0 for one in read_) / len(read_), 1)
    if not parameters.documents and read_:
        claims += [
            at_least("R@1 re-ranked", shares["reranked"]["r@1"], 0.89),
            at_least("R@5 re-ranked", shares["reranked"]["r@5"], 0.98),
            at_least("exact match", float(str(figures["em"])), 58),
            at_least("F1", float(str(figures["f1"])), 68),
        ]
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(questions=0, documents=0, rerank=10, minutes=60.0, threads=2),
    quick=Parameters(questions=30, documents=40, rerank=10, minutes=5.0, threads=2),
    observe=observe,
    judge=judge,
    options={
        "rerank": "passages that are read",
        "minutes": "begin no more questions after that",
        "threads": "of the model's arithmetic",
    },
)

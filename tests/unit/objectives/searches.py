"""The indexes of tests, and sums over few passages that are checked to 1e-9."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.model.frozen_encoder import encode
from realm.objectives.candidates import Asked, Beam, Candidate
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.exact import top_k
from tests.unit.model.conftest import WORDS
from tests.unit.model.test_brute_force import shares

PLAIN_WORDS = ("who", "wrote", "it", "she", "did", "in")
words = st.sampled_from(PLAIN_WORDS)
texts = st.lists(words, min_size=1, max_size=9).map(" ".join)
few_texts = st.lists(texts, min_size=1, max_size=5)
FREE = "document-2"  # of the 90% that objectives may learn from


def ids_of(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def beam_of(passages: Sequence[Candidate], vectors: Vectors) -> Beam:
    return Beam(
        [one.passage_id for one in passages],
        [one.document_id for one in passages],
        [one.text for one in passages],
        vectors,
        np.array([one.words for one in passages], np.float32),
    )


class ExactSearch:
    """Over passages, by the vectors of the model at the time of making."""

    def __init__(self, model: Model, passages: Sequence[Passage]) -> None:
        self._encoder = model.retriever.passage
        self._pad = model.inputs.pad
        self._passages = passages
        inputs = [model.inputs.passage(p.title_ids, p.body_ids) for p in passages]
        self._vectors = encode(self._encoder, inputs, self._pad)

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.DENSE
    ) -> list[list[Candidate]]:
        return [
            [Candidate.of(self._passages[row]) for row in best] for best in self._best(asked, limit)
        ]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        return [
            beam_of([Candidate.of(self._passages[row]) for row in best], self._vectors[best])
            for best in self._best(asked, limit)
        ]

    def _best(self, asked: Sequence[Asked], limit: int) -> NDArray[np.int64]:
        queries = encode(self._encoder, [each.encoded for each in asked], self._pad)
        return top_k(queries, self._vectors, limit)[0]

    def of_document(self, document_id: str) -> list[Candidate]:
        return [Candidate.of(p) for p in self._passages if p.document_id == document_id]


def words_of(place: int) -> float:
    """The BM25 score that `ListedSearch` gives its passages."""
    return float(place * 3 % 4)


class ListedSearch:
    """An index that finds all of its passages, in their order, for whatever is asked."""

    def __init__(self, model: Model, passages: Sequence[str], document: str = FREE) -> None:
        self.passages = [
            Candidate(f"p{number}", document, text, [], ids_of(text), words_of(number))
            for number, text in enumerate(passages)
        ]
        inputs = [model.inputs.passage([], one.body_ids) for one in self.passages]
        with torch.no_grad():
            self._vectors = model.retriever.passage(*collate(inputs, 0)).numpy()

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.DENSE
    ) -> list[list[Candidate]]:
        return [self.passages[:limit] for _ in asked]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        return [beam_of(self.passages[:limit], self._vectors[:limit]) for _ in asked]

    def of_document(self, document_id: str) -> list[Candidate]:
        return [one for one in self.passages if one.document_id == document_id]


def holds(text: str, answer: str) -> bool:
    """Whether the answer stands in the text as whole words, found word by word."""
    told, wanted = text.split(), answer.split()
    return any(
        told[start : start + len(wanted)] == wanted for start in range(len(told) - len(wanted) + 1)
    )


def minus_log_share(logits: list[float], chosen: list[bool]) -> float:
    """−log of the softmax mass of the chosen; 0 where none is."""
    if not any(chosen):
        return 0.0
    mass = math.fsum(p for p, one in zip(shares(logits), chosen, strict=True) if one)
    return -math.log(mass)

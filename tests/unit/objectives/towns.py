"""Exact search in memory: the `TrainingSearch` of tests."""

from __future__ import annotations

from collections.abc import Sequence

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.encoders import encode
from realm.model.inputs import Encoded
from realm.objectives.candidates import Beam, Candidate
from realm.search.exact import top_k


class ExactSearch:
    """Over passages, by the vectors of the model at the time of making."""

    def __init__(self, model: Model, passages: Sequence[Passage]) -> None:
        self._encoder = model.retriever.passage
        self._pad = model.inputs.pad
        self._passages = passages
        inputs = [model.inputs.passage(p.title_ids, p.body_ids) for p in passages]
        self._vectors = encode(self._encoder, inputs, self._pad)

    def search(self, queries: Sequence[Encoded], limit: int) -> list[list[Candidate]]:
        rows, _ = top_k(encode(self._encoder, queries, self._pad), self._vectors, limit)
        return [[Candidate.of(self._passages[row]) for row in best] for best in rows]

    def beams(self, queries: Sequence[Encoded], limit: int) -> list[Beam]:
        rows, _ = top_k(encode(self._encoder, queries, self._pad), self._vectors, limit)
        return [
            Beam(
                [self._passages[row].passage_id for row in best],
                [self._passages[row].document_id for row in best],
                [self._passages[row].text for row in best],
                self._vectors[best],
            )
            for best in rows
        ]

    def of_document(self, document_id: str) -> list[Candidate]:
        return [Candidate.of(p) for p in self._passages if p.document_id == document_id]

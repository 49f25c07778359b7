"""Exact search in memory: the `CandidateSearch` of tests."""

from __future__ import annotations

from collections.abc import Sequence

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.encoders import encode
from realm.model.inputs import Encoded
from realm.objectives.candidates import Candidate
from realm.search.exact import top_k


def candidate(passage: Passage) -> Candidate:
    return Candidate(
        passage.passage_id,
        passage.document_id,
        passage.text,
        passage.title_ids,
        passage.body_ids,
    )


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
        return [[candidate(self._passages[row]) for row in best] for best in rows]

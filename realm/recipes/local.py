"""Training in this process over documents in memory, beside an exact index that goes stale.

The index is what a generation is in the service: vectors of an older θ′. It chooses candidates
and no more; f(x, z) in a loss is always recomputed from the texts and the parameters being
trained (REALM, section 3.3).
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from realm.corpus.passages import Passage
from realm.errors import InvalidInput, NotReady
from realm.evaluation.parallel import OnProgress, no_progress
from realm.evaluation.searching import encode_passages
from realm.evaluation.systems import make_system
from realm.model.checkpoint import Model
from realm.model.frozen_encoder import FrozenEncoder, encode
from realm.model.inputs import Encoded
from realm.objectives.candidates import Asked, Beam, Candidate
from realm.objectives.objective import Objective
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index
from realm.search.exact import ExactIndex, Found
from realm.search.queries import QueryMaker
from realm.search.word_statistics import WordStatistics
from realm.training.learner import Learner

#: Who encodes a search in training: θ′ of the index, as in serving, or θ as it is now.
QueryEncoder = Literal["index", "fresh"]


class LocalIndex:
    """A `TrainingSearch` over passages in memory, by exact search.

    :param query_encoder: which parameters encode a search: the index's own (REALM's code), or
        those being trained (Atlas, EMDR2).
    :param dtype: the backbone's number format when passages are encoded.
    """

    def __init__(
        self,
        model: Model,
        passages: Sequence[Passage],
        *,
        query_encoder: QueryEncoder = "index",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = model
        self._which = query_encoder
        self._dtype = dtype
        self._passages: list[Passage] = []
        self._by_document: dict[str, list[Passage]] = {}
        self._index: ExactIndex | None = None
        self._statistics: WordStatistics | None = None
        self._relevance = model.retriever.relevance
        self._vectors: Vectors | None = None
        self._frozen: FrozenEncoder | None = None
        self.replace(passages)

    @property
    def passages(self) -> Sequence[Passage]:
        return self._passages

    def replace(self, passages: Sequence[Passage]) -> None:
        """The same passages with other texts: read at once, encoded at the next refresh.

        :raises InvalidInput: if they are others than those that have vectors.
        """
        ids = [passage.passage_id for passage in passages]
        if self._vectors is not None and ids != [one.passage_id for one in self._passages]:
            raise InvalidInput("the index has vectors of other passages: make another index")
        self._passages = list(passages)
        self._index = None
        self._by_document = {}
        for passage in passages:
            self._by_document.setdefault(passage.document_id, []).append(passage)

    def refresh(self, on_progress: OnProgress = no_progress) -> None:
        """Encodes every passage, as it reads now, with the parameters as they are now."""
        system = make_system(
            self._model, "local", 0, self._model.retriever.passage.device, self._dtype
        )
        self._vectors = encode_passages(system, self._passages, on_progress).vectors
        self._index = None
        self._relevance = self._model.retriever.relevance
        if self._which == "index":
            encoder = copy.deepcopy(self._model.retriever.query).eval()
            self._frozen = FrozenEncoder(encoder, self._model.inputs.pad, self._dtype)

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        """:raises NotReady: before the first refresh."""
        return [
            [
                Candidate.of(self._passages[row], float(words))
                for row, words in zip(found.rows, found.words, strict=True)
            ]
            for found in self.find(asked, limit, way)
        ]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        """:raises NotReady: before the first refresh."""
        return [self._beam(found) for found in self.find(asked, limit)]

    def of_document(self, document_id: str) -> list[Candidate]:
        return [Candidate.of(passage) for passage in self._by_document.get(document_id, ())]

    def find(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[Found]:
        """The passages that rank best for each question, best first.

        :raises NotReady: before the first refresh.
        """
        if self._vectors is None:
            raise NotReady("the local index has no vectors yet: refresh it first")
        if self._index is None:
            self._statistics = WordStatistics.of(self._passages)
            weighed = [self._statistics.passage(p.terms, p.term_counts) for p in self._passages]
            self._index = ExactIndex(self._vectors, Bm25Index(weighed))
        inputs = [each.encoded for each in asked]
        vectors = self._encode(inputs)
        queries = QueryMaker(self._relevance, self._statistics)
        return [
            self._index.search(queries.query(each.text, vector, way), limit)
            for each, vector in zip(asked, vectors, strict=True)
        ]

    def _encode(self, inputs: Sequence[Encoded]) -> Vectors:
        if self._frozen is not None:
            return self._frozen.encode(inputs)
        query = self._model.retriever.query
        return encode(query, inputs, self._model.inputs.pad, dtype=self._dtype)

    def _beam(self, found: Found) -> Beam:
        assert self._vectors is not None  # rows come from a search
        chosen = [self._passages[row] for row in found.rows]
        return Beam(
            [passage.passage_id for passage in chosen],
            [passage.document_id for passage in chosen],
            [passage.text for passage in chosen],
            self._vectors[found.rows],
            found.words,
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """So many steps by one objective; the index is refreshed before every n-th, 0: never."""

    objective: Objective[Any]
    steps: int
    refresh_every: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was taken, the first being 1, and the figures of its batch."""

    number: int
    planned: int
    figures: dict[str, float]


def train(
    learner: Learner,
    phase: Phase,
    passages: Iterator[Passage],
    *,
    index: LocalIndex | None = None,
    seed: int = 0,
    seconds: float = math.inf,
    on_step: Callable[[Step], None] = lambda step: None,
) -> int:
    """Trains in place, and returns how many steps there were time for.

    :param passages: an endless stream of what the objective draws from.
    :param index: the one that the objective searches, if it does.

    :raises NotReady: if the passages hold too little of use.
    :raises Diverged: if loss or gradient is not finite; the weights are those of the step before.
    """
    began = time.monotonic()
    for done in range(phase.steps):
        if time.monotonic() - began >= seconds:
            return done
        if index is not None and phase.refresh_every and done % phase.refresh_every == 0:
            index.refresh()
        # A generator a step, as in the trainer: a step depends on its number alone.
        rng = random.Random(f"{seed}:{done}:{phase.objective.name}")
        loss = learner.loss(phase.objective, phase.objective.batch(passages, rng))
        norm = learner.learn(loss.value, phase.objective.name)
        on_step(Step(done + 1, phase.steps, {**loss.figures, "gradient_norm": norm}))
    return phase.steps


def endless(passages: Sequence[Passage], seed: int) -> Iterator[Passage]:
    """All passages again and again, each time in another order."""
    epoch = 0
    while passages:
        order = list(passages)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        yield from order
        epoch += 1

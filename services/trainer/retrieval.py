"""Candidates from the live generation: its collection, and its own query encoder or the fresh one.

When another generation goes live its encoder is loaded in the background and taken between two
steps, so that a refresh costs training nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import structlog
import torch

from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    QUERY_ENCODER_FILE,
    TOKENIZER_FILE,
    load_query_encoder,
)
from realm.model.encoders import Encoder
from realm.model.frozen_encoder import FrozenEncoder, encode
from realm.model.inputs import InputBuilder
from realm.objectives.candidates import Asked, Beam, Candidate
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.queries import QueryMaker
from realm.search.vector_index import Hit, Query
from services.trainer.context import Background
from services.trainer.data import CorpusView

RETRY_SECONDS = 5.0  # pause after the index failed
VECTORS_AT_ONCE = 1024
ENCODER_FILES = (CONFIG_FILE, TOKENIZER_FILE, PASSAGE_ENCODER_FILE, QUERY_ENCODER_FILE)

Found = TypeVar("Found")

_log = structlog.get_logger(__name__)


class Collections(Protocol):
    """What training needs of `realm.search.vector_index.VectorIndex`."""

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]: ...

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]: ...


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """The live generation with the query encoder of its snapshot and the weights of questions."""

    generation: Generation
    encoder: FrozenEncoder
    queries: QueryMaker


class LiveRetrieval:
    """A `TrainingSearch` over what is live. Call `refresh` between steps.

    :param fresh: a query encoder in training, to search with in place of the live snapshot's own
        (Atlas, EMDR2: queries move ahead of the index; REALM's code: both are of one snapshot).
    """

    def __init__(
        self,
        store: Store,
        index: Collections,
        inputs: InputBuilder,
        device: torch.device,
        *,
        poll_seconds: float,
        fresh: Encoder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.live: LiveIndex | None = None
        self._store = store
        self._generations = Generations(store)
        self._snapshots = Snapshots(store)
        self._index = index
        self._inputs = inputs
        self._device = device
        self._poll_seconds = poll_seconds
        self._fresh = fresh
        self._clock = clock
        self._view: CorpusView | None = None
        self._loading: Background[LiveIndex] = Background("load-live")
        self._poll_at = 0.0
        self._retry_at = 0.0

    def take_ids_from(self, view: CorpusView) -> None:
        """Passages of this view need no tokenising."""
        self._view = view

    def refresh(self) -> bool:
        """Takes a loaded encoder; starts to load one if another generation went live.

        True if the index in use has changed. Never raises for a dependency's failure.
        """
        try:
            loaded = self._loading.take()
            if loaded is None:
                self._poll()
                return False
        except RealmError as error:
            _log.warning("live_generation_not_loaded", why=error.message)
            return False
        self.live = loaded
        _log.info(
            "live_generation_taken",
            generation=loaded.generation.number,
            step=loaded.generation.step,
        )
        return True

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        """:raises DependencyUnavailable, NotFound: if the index does not answer.
        :raises NotReady: if nothing is live.
        """
        queries = self._queries(asked, way)
        found = self._query(lambda name: self._index.search(name, queries, limit))
        return [[self._candidate(hit) for hit in hits] for hits in found]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        """:raises DependencyUnavailable, NotFound, NotReady: as `search` does."""
        # One query at a time: thousands of passages and vectors are many megabytes.
        return [
            self._query(partial(self._beam, query=query, limit=limit))
            for query in self._queries(asked, Retrieval.HYBRID)
        ]

    def of_document(self, document_id: str) -> list[Candidate]:
        """Passages as training knows them, whatever is live; none before there is a view."""
        return [] if self._view is None else self._view.of_document(document_id)

    def _queries(self, asked: Sequence[Asked], way: Retrieval) -> list[Query]:
        live = self._ready()
        inputs = [each.encoded for each in asked]
        if self._fresh is None:
            vectors = live.encoder.encode(inputs)  # [n, size]
        else:
            vectors = encode(self._fresh, inputs, self._inputs.pad)  # [n, size]
        return [
            live.queries.query(each.text, vector, way)
            for each, vector in zip(asked, vectors, strict=True)
        ]

    def _words(self, hit: Hit) -> float:
        """The passage's BM25 score; 0 where words are no part of the index's f(x, z)."""
        return hit.words if self._ready().queries.words is not None else 0.0

    def _ready(self) -> LiveIndex:
        if self.live is None:
            raise NotReady("no generation is live yet")
        if self._clock() < self._retry_at:
            raise DependencyUnavailable("the index failed a moment ago and is not asked yet")
        return self.live

    def _query(self, ask: Callable[[str], Found]) -> Found:
        """What the live collection answers; after a failure it is not asked for a while."""
        live = self._ready()
        try:
            return ask(live.generation.collection)
        except RealmError:
            self._retry_at = self._clock() + RETRY_SECONDS
            raise

    def _beam(self, collection: str, query: Query, limit: int) -> Beam:
        (hits,) = self._index.search(collection, [query], limit)
        found = {hit.passage.passage_id: hit for hit in hits}
        ids = list(found)
        vectors: dict[str, Vectors] = {}
        for start in range(0, len(ids), VECTORS_AT_ONCE):
            vectors |= self._index.vectors(collection, ids[start : start + VECTORS_AT_ONCE])
        # Leaves out passages that were deleted between the two requests.
        kept = [one for name, one in found.items() if name in vectors]
        rows = [vectors[one.passage.passage_id] for one in kept]
        return Beam(
            [one.passage.passage_id for one in kept],
            [one.passage.document_id for one in kept],
            [one.passage.text for one in kept],
            np.array(rows, np.float32).reshape(len(rows), query.vector.shape[-1]),
            np.array([self._words(one) for one in kept], np.float32),
        )

    def _poll(self) -> None:
        now = self._clock()
        if self._loading.busy or now < self._poll_at:
            return
        self._poll_at = now + self._poll_seconds
        entry = self._generations.live()
        if entry is None or (self.live and self.live.generation.number == entry.generation):
            return
        generation = self._generations.find(entry.generation)
        if generation is None or generation.words_alone:
            return  # there are no vectors to learn from
        # Token ids of another tokenizer mean nothing to this model.
        if generation.fingerprint == self._inputs.fingerprint:
            self._loading.start(lambda: self._load(generation))

    def _load(self, generation: Generation) -> LiveIndex:
        snapshot = self._snapshots.get(generation.snapshot)
        folder = self._snapshots.materialise(snapshot, ENCODER_FILES)
        loaded = load_query_encoder(folder, device=self._device)
        queries = QueryMaker.of(self._store, generation, loaded.relevance)
        return LiveIndex(generation, loaded.encoder, queries)

    def _candidate(self, hit: Hit) -> Candidate:
        found = hit.passage
        known = self._view.find(found.passage_id) if self._view else None
        if known is not None and known.text == found.text and known.title == found.title:
            title_ids, body_ids = known.title_ids, known.body_ids
        else:
            title_ids = self._inputs.title_ids(found.title)
            body_ids = self._inputs.tokenize(found.text)[0]
        return Candidate(
            found.passage_id,
            found.document_id,
            found.text,
            title_ids,
            body_ids,
            self._words(hit),
        )

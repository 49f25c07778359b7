"""Candidates from the live generation: its own query encoder, its own collection.

When another generation goes live its encoder is loaded in the background and taken between two
steps, so that a refresh costs training nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
import torch

from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.generations import Generation, Generations
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    QUERY_ENCODER_FILE,
    TOKENIZER_FILE,
    ServingEncoder,
    load_query_encoder,
)
from realm.model.encoders import encode
from realm.model.inputs import Encoded, InputBuilder
from realm.objectives.candidates import Candidate
from realm.search.qdrant import Hit
from realm.snapshots import Snapshots
from realm.vectors import Vectors
from services.trainer.background import Background
from services.trainer.corpus_view import CorpusView

RETRY_SECONDS = 5.0  # an index that failed is left alone so long
ENCODER_FILES = (CONFIG_FILE, TOKENIZER_FILE, PASSAGE_ENCODER_FILE, QUERY_ENCODER_FILE)

_log = structlog.get_logger(__name__)


class Collections(Protocol):
    """What training needs of `realm.search.qdrant.PassageIndex`."""

    def search(self, collection: str, queries: Vectors, limit: int) -> list[list[Hit]]: ...


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """The live generation with the query encoder of its snapshot."""

    generation: Generation
    encoder: ServingEncoder


class LiveRetrieval:
    """A `CandidateSearch` over what is live. Call `refresh` between steps."""

    def __init__(
        self,
        generations: Generations,
        snapshots: Snapshots,
        index: Collections,
        inputs: InputBuilder,
        device: torch.device,
        *,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.live: LiveIndex | None = None
        self._generations = generations
        self._snapshots = snapshots
        self._index = index
        self._inputs = inputs
        self._device = device
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._view: CorpusView | None = None
        self._loading: Background[LiveIndex] = Background("load-live")
        self._look_at = 0.0
        self._retry_at = 0.0

    def take_ids_from(self, view: CorpusView) -> None:
        """Passages of this view need no tokenising."""
        self._view = view

    def refresh(self) -> bool:
        """Takes a loaded encoder; starts to load one if another generation went live.

        True if what is live for training has changed. Never raises for a dependency's fault.
        """
        try:
            loaded = self._loading.take()
            if loaded is None:
                self._look()
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

    def search(self, queries: Sequence[Encoded], limit: int) -> list[list[Candidate]]:
        """:raises DependencyUnavailable, NotFound: if the index does not answer.
        :raises NotReady: if nothing is live.
        """
        if self.live is None:
            raise NotReady("no generation is live yet")
        if self._clock() < self._retry_at:
            raise DependencyUnavailable("the index failed a moment ago and is left alone")
        vectors = encode(self.live.encoder.encoder, queries, self._inputs.pad)  # [n, size]
        try:
            found = self._index.search(self.live.generation.collection, vectors, limit)
        except RealmError:
            self._retry_at = self._clock() + RETRY_SECONDS
            raise
        return [[self._candidate(hit) for hit in hits] for hits in found]

    def _look(self) -> None:
        now = self._clock()
        if self._loading.busy or now < self._look_at:
            return
        self._look_at = now + self._poll_seconds
        entry = self._generations.live()
        if entry is None or (self.live and self.live.generation.number == entry.generation):
            return
        generation = self._generations.get(entry.generation)
        # Token ids of another tokenizer mean nothing to this model.
        if generation.fingerprint == self._inputs.fingerprint:
            self._loading.start(lambda: self._load(generation))

    def _load(self, generation: Generation) -> LiveIndex:
        snapshot = self._snapshots.get(generation.snapshot)
        encoder = load_query_encoder(self._snapshots.materialise(snapshot, ENCODER_FILES))
        encoder.encoder.to(self._device)
        return LiveIndex(generation, encoder)

    def _candidate(self, hit: Hit) -> Candidate:
        found = hit.passage
        known = self._view.find(found.passage_id) if self._view else None
        if known is not None and known.text == found.text and known.title == found.title:
            title_ids, body_ids = known.title_ids, known.body_ids
        else:
            title_ids = self._inputs.title_ids(found.title)
            body_ids = self._inputs.tokenize(found.text)[0]
        return Candidate(found.passage_id, found.document_id, found.text, title_ids, body_ids)

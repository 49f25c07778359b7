"""Keeps as many copies of what is searched as there should be, where Qdrant is a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from realm.errors import NotFound
from realm.records.generations import Generations
from realm.records.states import ACTIVE
from realm.search.vector_index import VectorIndex
from services.indexer.build.lifecycle import Observation
from services.indexer.metrics import IndexerMetrics

#: Interval of looks.
EVERY_SECONDS = 15.0


@dataclass(slots=True)
class CopyKeeper:
    """Called after each tick by the reconciler's thread."""

    generations: Generations
    index: VectorIndex
    metrics: IndexerMetrics
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=0.0, init=False)

    def run_when_due(self, seen: Observation) -> None:
        """:raises DependencyUnavailable: if Qdrant does not answer."""
        if self.clock() < self._next or not seen.qdrant_reachable:
            return
        self._next = self.clock() + EVERY_SECONDS
        missing = 0
        for each in seen.generations:
            if each.state in ACTIVE and each.has_collection:
                with suppress(NotFound):
                    collection = self.generations.get(each.number).collection
                    missing += self.index.restore_copies(collection)
        self.metrics.missing_copies.set(missing)

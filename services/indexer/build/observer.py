"""Observes: what store and Qdrant say, and what this process remembers, as one `Observation`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import structlog

from realm.errors import DependencyUnavailable
from realm.records.controls import damaged
from realm.records.states import ENDED, FINAL, Ages, State
from services.indexer.build.build import BuildContext
from services.indexer.build.lifecycle import GenerationView, Live, Observation
from services.indexer.context import CorpusReader

log = structlog.get_logger(__name__)


class Observer:
    """Changes nothing; caches only what cannot change any more."""

    def __init__(
        self,
        context: BuildContext,
        corpus: CorpusReader,
        missing: Callable[[], frozenset[int]] = frozenset,
        floor: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param missing: those of live and retained that have no collection, for certain.
        :param floor: builds of leaders before this term are not continued.
        """
        self._memory = context.memory
        self._store = context.records.store
        self._snapshots = context.records.snapshots
        self._generations = context.records.generations
        self._controls = context.records.controls
        self._index = context.index
        self._retirement = context.settings.indexer.retirement_seconds
        self._words_first = context.settings.indexer.words_first
        self._corpus = corpus
        self._missing = missing
        self._floor = floor
        self._final: dict[int, State] = {}
        self._ages = Ages(clock)

    def observe(self) -> Observation:
        """All but the candidate's progress, which `BuildTracker` adds.

        :raises DependencyUnavailable: if store or corpus cannot be read."""
        memory = self._memory
        steering = self._controls.steering()
        lost, asked = steering.damaged, steering.refresh
        state_of = cache(self._state)  # each is asked for once
        live = self._live(lost, state_of)
        collections, alias = self._qdrant()
        generations = tuple(
            self._view(number, state_of(number), live, collections, lost)
            for number in self._generations.numbers()
        )
        version = self._corpus.version()
        published, unusable = tuple(self._snapshots.all()), memory.unusable()
        whole = [each.number for each in published if each.number not in unusable]
        return Observation(
            retirement_seconds=self._retirement,
            newest_snapshot=whole[-1] if whole else None,
            has_documents=version > 0 and version != memory.empty_at,
            paused=steering.paused,
            refresh_asked=asked.number if asked else 0,
            refresh_damaged=asked is not None and asked.snapshot in unusable,
            refresh_snapshot=asked.snapshot if asked else None,
            refresh_forced=asked.forced if asked else "",
            live=live,
            generations=generations,
            candidate=None,
            qdrant_reachable=collections is not None,
            alias=alias,
            floor=self._floor(),
            can_heal=live is not None and live.snapshot not in unusable,
            backing_off=time.monotonic() < memory.retry_at,
            words_first=self._words_first,
            corpus_version=version,
            published=published,
            collect=steering.collect,
        )

    def live(self) -> Live | None:
        return self._live(damaged(self._store), self._state)

    def _live(self, lost: frozenset[int], state_of: Callable[[int], State | None]) -> Live | None:
        history = self._generations.live_history()
        if not history:
            return None
        newest = history[-1]
        before = [each for each in reversed(history) if each.generation != newest.generation]
        whole = (each.generation for each in before if each.generation not in lost)
        previous = next(whole, None)
        if previous is not None and state_of(previous) in ENDED | FINAL:
            previous = None
        made = self._generations.find(newest.generation)
        return Live(
            newest.generation,
            made.snapshot if made else 0,
            turn=before[0].sequence + 1 if before else 1,
            previous=previous,
            at=newest.at,
            words_alone=made is not None and made.words_alone,
            forced=made.forced if made else "",
        )

    def _qdrant(self) -> tuple[frozenset[str] | None, int | None]:
        try:
            collections = frozenset(self._index.collections())
            alias = self._index.alias()
        except DependencyUnavailable as error:
            log.warning("qdrant_unreachable", why=str(error))
            return None, None
        digits = (alias or "").rpartition("-")[2]
        return collections, int(digits) if digits.isdecimal() else None

    def _view(
        self,
        number: int,
        state: State | None,
        live: Live | None,
        collections: frozenset[str] | None,
        lost: frozenset[int],
    ) -> GenerationView:
        generation = self._generations.get(number)
        there = collections is not None and generation.collection in collections
        if live and number in (live.generation, live.previous):
            # One peer's list proves nothing: who searches it finds it missing, or not.
            there = collections is not None and number not in self._missing()
        return GenerationView(
            number, generation.snapshot, state, self._ages.of(str(number), state), there,
            generation.term,
            generation.request, generation.replaces, number in lost, generation.why,
            generation.words_alone,
        )  # fmt: skip

    def _state(self, number: int) -> State | None:
        if (state := self._final.get(number)) is None:
            state = self._generations.state(number)
            if state in FINAL:
                self._final[number] = state
        return state

"""Follows a commit to the gateways, records how long the refresh took, and updates the gauges."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from realm.errors import NotFound
from realm.records.refresh_trace import RefreshTrace
from realm.records.states import ACTIVE, SERVED, TOTAL, State, phase_figures
from realm.search.vector_index import VectorIndex
from services.indexer.build.build import Build, Memory
from services.indexer.build.lifecycle import REFRESH, Observation
from services.indexer.context import CorpusReader, Records
from services.indexer.gateways import GatewayReports
from services.indexer.metrics import IndexerMetrics
from services.indexer.report.status import phases_of
from services.indexer.writes.replication import ReplicationState

#: Counting points asks Qdrant; the gauge need not be fresher.
COUNT_SECONDS = 15.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RefreshMonitor:
    """Called after each tick by the reconciler's thread."""

    records: Records
    index: VectorIndex
    corpus: CorpusReader
    replication: ReplicationState
    gateways: GatewayReports
    memory: Memory
    metrics: IndexerMetrics
    clock: Callable[[], float] = time.monotonic
    _counted_at: float = field(default=0.0, init=False)
    #: The live generation, once its refresh is known to be over.
    _over: int = field(default=0, init=False)
    _first_look: float | None = field(default=None, init=False)

    def update(self, seen: Observation) -> None:
        self.metrics.dependency_up.labels("store").set(1)
        self.metrics.dependency_up.labels("qdrant").set(seen.qdrant_reachable)
        self._flip(seen)
        self._show_live(seen)
        self._show_build()
        self._show_integrity(seen)
        if time.monotonic() - self._counted_at >= COUNT_SECONDS and seen.qdrant_reachable:
            self._counted_at = time.monotonic()
            self._show_points(seen)

    def _flip(self, seen: Observation) -> None:
        if self.memory.flipping is None:
            self.memory.flipping = self._unended(seen)
        build = self.memory.flipping
        if build is None or build.committed_at is None:
            return
        live = self.records.generations.live()
        if live is None or live.generation != build.number:
            self.memory.flipping = None
        elif self.gateways.all_serve(build.number):
            # A delay of this thread is no part of the refresh.
            flipped_at = self.gateways.reached_at(build.number) or time.time()
            self._ended(build, max(flipped_at, build.committed_at))
            self.memory.flipping, self._over = None, build.number

    def _unended(self, seen: Observation) -> Build | None:
        """A refresh that was committed, by an earlier leader or by a put whose answer was lost, and
        whose end at the gateways is not recorded. Phases as far as the store knows them."""
        now = self.clock()
        self._first_look = now if self._first_look is None else self._first_look
        if seen.live is None or seen.live.generation == self._over:
            return None
        if now - self._first_look < self.gateways.ttl:
            return None  # a new leader has not heard of all gateways yet
        entry, number = self.records.generations.live(), seen.live.generation
        if entry is None or entry.generation != number:
            return None
        known = phases_of(self.records.generations.events(number))
        if entry.why != REFRESH or TOTAL in known:
            self._over = number
            return None
        build, self.memory.build = self.memory.build, None
        if build is None or build.number != number:
            self.memory.build = build
            generation = self.records.generations.get(number)
            build = Build(generation, self.records.snapshots.get(generation.snapshot))
            build.embedded_at = generation.created_at + known.get("embed", 0.0)
            build.loaded_at = build.embedded_at + known.get("load", 0.0)
            build.optimised_at = build.loaded_at + known.get("optimize", 0.0)
        # The end of validation was lost with the leader: it counts as lasting until the commit.
        build.validated_at = build.validated_at or entry.at
        build.committed_at = entry.at
        return build

    def _ended(self, build: Build, flipped_at: float) -> None:
        if not build.generation.is_refresh:
            self.metrics.refreshes.labels("healed" if build.generation.heals else "words").inc()
            return
        phases = build.phase_seconds(time.time(), flipped_at)
        # First: if the store fails, the next tick repeats all of this.
        self.records.generations.record(
            build.number,
            State.LIVE,
            "every ready gateway answers with it",
            phase_figures(phases),
        )
        trace = RefreshTrace(build.snapshot)
        trace.ended(build.number, phases, str(State.LIVE), flipped_at)
        for phase, seconds in phases.items():
            self.metrics.refresh_duration.labels(phase).observe(seconds)
            self.metrics.last_refresh.labels(phase).set(seconds)
        self.metrics.refreshes.labels(str(State.LIVE)).inc()
        log.info(
            "refresh_ended",
            generation=build.number,
            trace_id=trace.trace_id,
            **{k: round(v, 2) for k, v in phases.items()},
        )

    def _show_live(self, seen: Observation) -> None:
        self.metrics.corpus_version.labels("newest").set(seen.corpus_version)
        if seen.live is None:
            return
        generation = self.records.generations.find(seen.live.generation)
        if generation is None:
            return
        lag = generation.lag(seen.published)
        self.metrics.lagging_since.set(lag.since or 0.0)
        self.metrics.lag_steps.set(lag.steps)
        self.metrics.active_generation.set(generation.number)
        self.metrics.active_step.set(generation.step)
        for snapshot in seen.published:
            if snapshot.number == generation.snapshot:
                self.metrics.active_snapshot_timestamp.set(snapshot.created_at)
        self.metrics.last_swap_timestamp.set(seen.live.at)
        applied = self.replication.applied_or_recorded(generation.number)
        self.metrics.corpus_version.labels("live").set(applied)
        oldest = self.corpus.oldest_write(applied)
        self.metrics.oldest_unindexed_write.set(oldest or 0.0)

    def _show_build(self) -> None:
        build = self.memory.build
        self.metrics.building_step.set(build.snapshot.step if build else 0)
        self.metrics.shards_expected.set(len(build.generation.passage_files) if build else 0)
        self.metrics.shards_completed.set(len(build.embedded) if build else 0)

    def _show_points(self, seen: Observation) -> None:
        points = dict.fromkeys((str(state) for state in ACTIVE), 0)
        for each in seen.generations:
            if each.state in ACTIVE and each.has_collection:
                collection = self.records.generations.get(each.number).collection
                with suppress(NotFound):
                    points[str(each.state)] += self.index.count(collection)
        for state, count in points.items():
            self.metrics.points.labels(state).set(count)

    def _show_integrity(self, seen: Observation) -> None:
        for state in sorted(SERVED):
            mine = [each for each in seen.generations if each.state is state]
            expected = [self.replication.points(each.number) for each in mine]
            self.metrics.damaged.labels(str(state)).set(any(each.damaged for each in mine))
            self.metrics.points_expected.labels(str(state)).set(sum(n or 0 for n in expected))

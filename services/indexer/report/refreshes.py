"""Follows a commit to the gateways, records how long the refresh took, and updates the gauges."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from realm.errors import NotFound
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import lag_behind
from realm.records.states import ACTIVE, SERVED, TOTAL, State, phase_figures
from realm.search.vector_index import VectorIndex
from services.indexer.build.build import Build, Memory
from services.indexer.build.lifecycle import REFRESH, Observation
from services.indexer.context import Records
from services.indexer.gateways import GatewayReports
from services.indexer.metrics import IndexerMetrics
from services.indexer.report.status import phases_of
from services.indexer.writes.corpus_reader import CorpusReader
from services.indexer.writes.replication import ReplicationState

#: Counting points asks Qdrant; the gauge need not be fresher.
COUNT_SECONDS = 15.0

log = structlog.get_logger(__name__)


class RefreshMonitor:
    """Called after each tick by the reconciler's thread."""

    def __init__(
        self,
        records: Records,
        index: VectorIndex,
        corpus: CorpusReader,
        replication: ReplicationState,
        gateways: GatewayReports,
        memory: Memory,
        metrics: IndexerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshots = records.snapshots
        self._generations = records.generations
        self._index = index
        self._corpus = corpus
        self._replication = replication
        self._gateways = gateways
        self._memory = memory
        self._metrics = metrics
        self._clock = clock
        self._counted_at = 0.0
        #: The live generation, once its refresh is known to be over.
        self._over = 0
        self._first_look: float | None = None

    def update(self, seen: Observation) -> None:
        self._metrics.dependency_up.labels("store").set(1)
        self._metrics.dependency_up.labels("qdrant").set(seen.qdrant_reachable)
        self._flip(seen)
        self._show_live(seen)
        self._show_build()
        self._show_integrity(seen)
        if time.monotonic() - self._counted_at >= COUNT_SECONDS and seen.qdrant_reachable:
            self._counted_at = time.monotonic()
            self._show_points(seen)

    def _flip(self, seen: Observation) -> None:
        if self._memory.flipping is None:
            self._memory.flipping = self._unended(seen)
        build = self._memory.flipping
        if build is None or build.committed_at is None:
            return
        live = self._generations.live()
        if live is None or live.generation != build.number:
            self._memory.flipping = None
        elif self._gateways.all_serve(build.number):
            # A delay of this thread is no part of the refresh.
            flipped_at = self._gateways.reached_at(build.number) or time.time()
            self._ended(build, max(flipped_at, build.committed_at))
            self._memory.flipping, self._over = None, build.number

    def _unended(self, seen: Observation) -> Build | None:
        """A refresh that was committed, by an earlier leader or by a put whose answer was lost, and
        whose end at the gateways is not recorded. Phases as far as the store knows them."""
        now = self._clock()
        self._first_look = now if self._first_look is None else self._first_look
        if seen.live is None or seen.live.generation == self._over:
            return None
        if now - self._first_look < self._gateways.ttl:
            return None  # a new leader has not heard of all gateways yet
        entry, number = self._generations.live(), seen.live.generation
        if entry is None or entry.generation != number:
            return None
        known = phases_of(self._generations.events(number))
        if entry.why != REFRESH or TOTAL in known:
            self._over = number
            return None
        build, self._memory.build = self._memory.build, None
        if build is None or build.number != number:
            self._memory.build = build
            generation = self._generations.get(number)
            build = Build(generation, self._snapshots.get(generation.snapshot))
            build.embedded_at = generation.created_at + known.get("embed", 0.0)
            build.loaded_at = build.embedded_at + known.get("load", 0.0)
            build.optimised_at = build.loaded_at + known.get("optimize", 0.0)
        # The end of validation was lost with the leader: it counts as lasting until the commit.
        build.validated_at = build.validated_at or entry.at
        build.committed_at = entry.at
        return build

    def _ended(self, build: Build, flipped_at: float) -> None:
        if build.generation.heals:
            self._metrics.refreshes.labels("healed").inc()
            return
        phases = build.phase_seconds(time.time(), flipped_at)
        # First: if the store fails, the next tick repeats all of this.
        self._generations.record(
            build.number,
            State.LIVE,
            "every ready gateway answers with it",
            phase_figures(phases),
        )
        trace = RefreshTrace(build.snapshot)
        trace.ended(build.number, phases, str(State.LIVE), flipped_at)
        for phase, seconds in phases.items():
            self._metrics.refresh_duration.labels(phase).observe(seconds)
            self._metrics.last_refresh.labels(phase).set(seconds)
        self._metrics.refreshes.labels(str(State.LIVE)).inc()
        log.info(
            "refresh_ended",
            generation=build.number,
            trace_id=trace.trace_id,
            **{k: round(v, 2) for k, v in phases.items()},
        )

    def _show_live(self, seen: Observation) -> None:
        newest = self._corpus.version()
        self._metrics.corpus_version.labels("newest").set(newest)
        if seen.live is None:
            return
        generation = self._generations.find(seen.live.generation)
        if generation is None:
            return
        snapshots = self._snapshots.all()
        lag = lag_behind(snapshots, generation.snapshot, generation.step)
        self._metrics.lagging_since.set(lag.since or 0.0)
        self._metrics.lag_steps.set(lag.steps)
        self._metrics.active_generation.set(generation.number)
        self._metrics.active_step.set(generation.step)
        for snapshot in snapshots:
            if snapshot.number == generation.snapshot:
                self._metrics.active_snapshot_timestamp.set(snapshot.created_at)
        self._metrics.last_swap_timestamp.set(seen.live.at)
        applied = self._replication.applied_or_recorded(generation.number)
        self._metrics.corpus_version.labels("live").set(applied)
        oldest = self._corpus.oldest_write_after(applied) if applied < newest else None
        self._metrics.oldest_unindexed_write.set(oldest or 0.0)

    def _show_build(self) -> None:
        build = self._memory.build
        self._metrics.building_step.set(build.snapshot.step if build else 0)
        self._metrics.shards_expected.set(len(build.generation.passage_files) if build else 0)
        self._metrics.shards_completed.set(len(build.embedded) if build else 0)

    def _show_points(self, seen: Observation) -> None:
        points = dict.fromkeys((str(state) for state in ACTIVE), 0)
        for each in seen.generations:
            if each.state in ACTIVE and each.has_collection:
                collection = self._generations.get(each.number).collection
                with suppress(NotFound):
                    points[str(each.state)] += self._index.count(collection)
        for state, count in points.items():
            self._metrics.points.labels(state).set(count)

    def _show_integrity(self, seen: Observation) -> None:
        for state in sorted(SERVED):
            mine = [each for each in seen.generations if each.state is state]
            expected = [self._replication.points(each.number) for each in mine]
            self._metrics.damaged.labels(str(state)).set(any(each.damaged for each in mine))
            self._metrics.points_expected.labels(str(state)).set(sum(n or 0 for n in expected))

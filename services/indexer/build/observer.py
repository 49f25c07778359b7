"""Looks: what store, Qdrant and this process's memory say, as one `Observation`."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from realm.errors import DependencyUnavailable, NotFound
from realm.records.ages import Ages
from realm.records.baselines import GateBaselines
from realm.records.controls import Controls
from realm.records.damage import damaged
from realm.records.failures import failure_of, failures, quarantined
from realm.records.generations import Generation, Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import FINAL, State
from realm.records.store import Store
from realm.search.vector_index import VectorIndex
from services.indexer.build.build import Build, Memory
from services.indexer.build.lifecycle import (
    GenerationView,
    Live,
    Observation,
    Progress,
    candidate_of,
)
from services.indexer.gate.probes import probes_file
from services.indexer.writes.corpus_reader import CorpusReader
from services.indexer.writes.replication import ReplicationState

#: A build counts as stalled when nothing has been embedded or loaded for so long.
STALLED_SECONDS = 1200.0

log = structlog.get_logger(__name__)


class Observer:
    """Keeps only what cannot change any more."""

    def __init__(
        self,
        *,
        store: Store,
        snapshots: Snapshots,
        generations: Generations,
        index: VectorIndex,
        corpus: CorpusReader,
        replication: ReplicationState,
        controls: Controls,
        retirement_seconds: float,
        references: GateBaselines,
        gate_probes: int,
        missing: Callable[[], frozenset[int]] = frozenset,
        floor: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param missing: those of live and retained that have no collection, for certain.
        :param floor: builds of leaders before this term are not gone on with.
        """
        self._store = store
        self._snapshots = snapshots
        self._generations = generations
        self._index = index
        self._corpus = corpus
        self._replication = replication
        self._controls = controls
        self._retirement = retirement_seconds
        self._references = references
        self._gate_probes = gate_probes
        self._missing = missing
        self._floor = floor
        self._final: dict[int, State] = {}
        self._ages = Ages(clock)

    def observe(self, memory: Memory) -> Observation:
        """:raises DependencyUnavailable: if store or corpus cannot be read."""
        live = self.live()
        collections, alias = self._qdrant()
        lost = damaged(self._store)
        generations = tuple(
            self._seen(number, live, collections, lost) for number in self._generations.numbers()
        )
        candidate = candidate_of(generations, live, self._floor())
        version = self._corpus.version()
        newest = self.newest_snapshot(memory)
        asked = self._controls.refresh_request()
        return Observation(
            retirement_seconds=self._retirement,
            newest_snapshot=newest.number if newest else None,
            has_documents=version > 0 and version != memory.empty_at,
            paused=self._controls.paused(),
            refresh_asked=asked.number if asked else 0,
            refresh_damaged=asked is not None and asked.snapshot in memory.damaged,
            refresh_snapshot=asked.snapshot if asked else None,
            refresh_forced=asked.forced if asked else "",
            live=live,
            generations=generations,
            candidate=self._progress(candidate.number, live, memory) if candidate else None,
            qdrant_reachable=collections is not None,
            alias=alias,
            floor=self._floor(),
            can_heal=live is not None and live.snapshot not in memory.damaged,
            waits=time.monotonic() < memory.retry_at,
        )

    def newest_snapshot(self, memory: Memory) -> Snapshot | None:
        """The newest that is not known to be damaged."""
        whole = [each for each in self._snapshots.all() if each.number not in memory.damaged]
        return whole[-1] if whole else None

    def live(self) -> Live | None:
        history = self._generations.live_history()
        if not history:
            return None
        newest = history[-1]
        before = [each for each in reversed(history) if each.generation != newest.generation]
        lost = damaged(self._store)
        kept = (each.generation for each in before if each.generation not in lost)
        return Live(
            newest.generation,
            made.snapshot if (made := self._generations.find(newest.generation)) else 0,
            turn=before[0].sequence + 1 if before else 1,
            previous=next(kept, None),
            at=newest.at,
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

    def _seen(
        self,
        number: int,
        live: Live | None,
        collections: frozenset[str] | None,
        lost: frozenset[int],
    ) -> GenerationView:
        generation = self._generations.get(number)
        state, seconds = self._state(number)
        there = collections is not None and generation.collection in collections
        if live and number in (live.generation, live.previous):
            # One peer's list proves nothing: who searches it finds it missing, or not.
            there = collections is not None and number not in self._missing()
        return GenerationView(
            number, generation.snapshot, state, seconds, there, generation.term,
            generation.request, generation.replaces, number in lost, generation.why,
        )  # fmt: skip

    def _state(self, number: int) -> tuple[State | None, float]:
        """The state, and for how long this process has seen it."""
        if (state := self._final.get(number)) is None:
            state = self._generations.state(number)
            if state in FINAL:
                self._final[number] = state
        return state, self._ages.of(str(number), state)

    def _progress(self, number: int, live: Live | None, memory: Memory) -> Progress:
        try:
            build = self._build(number, memory)
        except NotFound as error:
            return _hopeless(number, f"its snapshot is gone: {error}")
        self._look_for_vectors(build)
        if not build.probes_ready:
            build.probes_ready = self._probes_ready(build.generation, live)
        files = frozenset(build.generation.passage_files)
        # A rollback that did not come about took its place in front.
        build.follows = build.follows and self._replication.catching_up == number
        with self._replication.lock:
            caught_up = build.follows and self._replication.may_go_live(number)
        waiting = bool(files - build.loaded.keys())
        idle = time.monotonic() - build.progress_at
        return Progress(
            generation=number,
            files=files,
            embedded=build.embedded,
            loaded=frozenset(build.loaded),
            prepared=build.prepared,
            optimised=build.optimised_at is not None,
            follows=build.follows,
            caught_up=caught_up,
            probes_ready=build.probes_ready,
            verdict=build.verdict,
            hopeless=build.hopeless
            or self._full()
            or self._quarantined(build)
            or self._refused(build, live),
            stalled=waiting and idle > STALLED_SECONDS,
        )

    def _build(self, number: int, memory: Memory) -> Build:
        """The memory of this candidate; a fresh one after a restart."""
        if memory.build is None or memory.build.number != number:
            generation = self._generations.get(number)
            memory.build = Build(generation, self._snapshots.get(generation.snapshot))
        return memory.build

    def _look_for_vectors(self, build: Build) -> None:
        folder = f"vectors/{build.snapshot.name}/{build.generation.fingerprint}"
        there = set(self._store.files(folder))
        embedded = frozenset(
            path for path in build.generation.passage_files if build.vectors_of(path) in there
        )
        if embedded != build.embedded:
            build.progress_at = time.monotonic()
        build.embedded = embedded
        if len(embedded) == len(build.generation.passage_files) and build.embedded_at is None:
            build.embedded_at = time.time()

    def _probes_ready(self, generation: Generation, live: Live | None) -> bool:
        if not self._gate_probes or generation.heals:
            return True
        by = self._references.of(
            generation, self._generations.find(live.generation) if live else None
        )
        return all(
            self._store.exists(output) or (each not in by[:2] and failure_of(self._store, output))
            for each in by
            if (output := probes_file(generation, each))
        )

    def _full(self) -> str:
        """A candidate makes room for what live is written to."""
        why = self._index.full
        return f"it is given up to make room: {why}" if why else ""

    def _quarantined(self, build: Build) -> str:
        """An embedder wrote down that the probes kill its workers: asking again is no use. What
        passages do is found out piece by piece."""
        probes = f"{build.generation.folder}/probes"
        for output in quarantined(self._store):
            if output.startswith(probes):
                return f"{output} is in quarantine: its task killed its workers"
        return ""

    def _refused(self, build: Build, live: Live | None) -> str:
        """An embedder wrote down that it cannot use what it was given. That the best accepted
        lately cannot be compared with is no obstacle; changes are the change applier's."""
        generation = build.generation
        shards = {build.vectors_of(path) for path in generation.passage_files}
        outputs = {*shards, probes_file(generation, generation)}
        if live is not None and (made := self._generations.find(live.generation)):
            outputs.add(probes_file(generation, made))
        for failure in failures(self._store):
            if failure.output_file in shards and failure.blames_content:
                continue
            if failure.output_file in outputs:
                return f"an embedder cannot make {failure.output_file}: {failure.why}"
        return ""


def _hopeless(number: int, why: str) -> Progress:
    nothing: frozenset[str] = frozenset()
    return Progress(
        number, nothing, nothing, nothing, prepared=False, optimised=False, follows=False,
        caught_up=False, probes_ready=False, verdict=None, hopeless=why,
    )  # fmt: skip

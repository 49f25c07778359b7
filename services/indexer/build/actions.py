"""Performs what was decided. Every action may be repeated or interrupted without harm."""

from __future__ import annotations

import time

import structlog

from realm.errors import Corrupt, NotFound
from realm.process.wakeup import Wakeup
from realm.records.controls import damage_of
from realm.records.failures import clear_failure, failures
from realm.records.generation import Generation
from realm.records.refresh_trace import RefreshTrace
from realm.records.states import BUILD_PHASES, State, phase_figures
from services.indexer.build.build import Build, BuildContext
from services.indexer.build.builder import RATE, Builder
from services.indexer.build.committer import Committer
from services.indexer.build.lifecycle import HEAL, Action, BeginBuild, Observation, Step
from services.indexer.build.loader import load_shard
from services.indexer.build.requests import ProbeRequests, ShardRequests
from services.indexer.gate.gate import Gate

#: Loading stops for a new observation after this long, even if shards are left.
LOAD_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Actions:
    """Used by the reconciler's thread alone."""

    def __init__(
        self,
        context: BuildContext,
        builder: Builder,
        shards: ShardRequests,
        probes: ProbeRequests,
        gate: Gate,
        committer: Committer,
        wakeup: Wakeup,
    ) -> None:
        self._memory = context.memory
        self._records = context.records
        self._store = context.records.store
        self._generations = context.records.generations
        self._index = context.index
        self._replication = context.replication
        self._tasks = context.tasks
        self._metrics = context.metrics
        self._optimise_seconds = context.settings.gate.optimise_seconds
        self._stopped = context.stopped
        self._builder = builder
        self._shards = shards
        self._probes = probes
        self._gate = gate
        self._committer = committer
        self._wakeup = wakeup

    def perform(self, action: BeginBuild | Action, seen: Observation) -> bool:
        """Performs it; returns whether the next observation is due at once.

        :raises RealmError: if it cannot be done now.
        """
        if isinstance(action, BeginBuild):
            return self._begin(action, seen)
        number, build = action.generation, self._memory.build
        match action.step:
            case Step.RECORD_STATE:
                assert action.state is not None
                self._generations.record(number, action.state, action.why)
            case Step.DROP_COLLECTION:
                self._drop(number)
            case Step.POINT_ALIAS:
                self._index.point_alias(self._generations.get(number).collection)
            case Step.END_BUILD:
                assert action.state is not None
                self._end(number, action.state, action.why)
            case _ if build is not None and build.number == number:
                return self._continue(action, seen, build)
        return True

    def _continue(self, action: Action, seen: Observation, build: Build) -> bool:
        live = self._generations.find(seen.live.generation) if seen.live else None
        match action.step:
            case Step.REQUEST_SHARDS:
                self._shards.send(build, action.files)
                return False
            case Step.REQUEST_PROBES:
                self._probes.send(build.generation, live)
                return False
            case Step.PREPARE_COLLECTION:
                self._index.create(build.generation.collection, build.generation.vector_size)
                build.start_over()
                build.prepared = True
            case Step.LOAD_SHARDS:
                self._load(build, action.files)
            case Step.OPTIMISE:
                return self._optimise(build)
            case Step.START_REPLICATION:
                self._start_replication(build)
            case Step.VALIDATE:
                self._validate(build, live)
            case Step.COMMIT:
                return self._commit(build, live, action.why)
        return True

    def _start_replication(self, build: Build) -> None:
        made = build.generation
        points = sum(each.rows for each in build.loaded.values())
        self._index.mark(made.collection, made.corpus_version)
        self._generations.record_applied(made.number, made.corpus_version, points)
        self._replication.start_catch_up(made, made.corpus_version, points)
        build.replicating = True

    def _begin(self, wanted: BeginBuild, seen: Observation) -> bool:
        memory, version = self._memory, self._builder.corpus.version()
        healed = seen.live.generation if seen.live and wanted.why == HEAL else 0
        try:
            if healed and not memory.failures:
                self._builder.copy(self._generations.get(healed), wanted)
                return True
            # A file may be damaged too, so the passages of the current corpus are cut again.
            begun = self._builder.begin(wanted, version, healed)
        except (Corrupt, NotFound) as error:
            memory.found_damaged(wanted.snapshot)
            self._metrics.corrupt_files.labels("snapshot").inc()
            log.error("snapshot_unusable", snapshot=wanted.snapshot, why=str(error))
            return True
        if begun is None:
            memory.empty_at = version
        return begun is not None

    def _load(self, build: Build, files: frozenset[str]) -> None:
        deadline = time.monotonic() + LOAD_SECONDS
        for path in sorted(files):
            if self._stopped() or time.monotonic() > deadline:
                return
            output = build.vectors_of(path)
            try:
                loaded = load_shard(self._store, self._index, build.generation, path, output)
            except (Corrupt, NotFound) as error:
                if "file" not in error.details:
                    # Qdrant lost the collection; no file is at fault.
                    build.start_over()
                    raise
                self._corrupt(build, path, output, error)
                return
            build.loaded[path] = loaded
            build.progress_at = time.monotonic()

    def _corrupt(self, build: Build, path: str, output: str, error: Corrupt | NotFound) -> None:
        if error.details.get("file") == path:
            self._metrics.corrupt_files.labels("passages").inc()
            self._store.delete(path)
            build.failure = f"a passage file is damaged: {error}"
        else:
            self._metrics.corrupt_files.labels("vectors").inc()
            self._store.delete(output)
            self._tasks.allow_resend(output)
        log.error("file_refused", generation=build.number, why=str(error))

    def _optimise(self, build: Build) -> bool:
        """Returns whether Qdrant is done, or has taken too long.

        This comes before replication, since a collection that builds its indexes may not accept
        writes; validating half an index would find it too slow, and searches would be slow.
        """
        collection = build.generation.collection
        if build.optimising_since is None:
            self._index.optimise(collection)
            build.optimising_since, build.loaded_at = time.monotonic(), time.time()
        waited = time.monotonic() - build.optimising_since
        if waited < self._optimise_seconds and self._index.is_optimising(collection):
            if not build.waits_for_qdrant:
                build.waits_for_qdrant = True
                log.info(
                    "waits_for_qdrant", generation=build.number,
                    why="it is at work on the collection", at_most_seconds=self._optimise_seconds,
                )  # fmt: skip
            return False
        build.optimised_at = time.time()
        return True

    def _validate(self, build: Build, live: Generation | None) -> None:
        if self._generations.state(build.number) is not State.VALIDATING:
            # If this process is lost, its successor reads the phases here.
            passed = build.phase_seconds(time.time()).items()
            report = phase_figures({name: value for name, value in passed if name in BUILD_PHASES})
            self._generations.record(build.number, State.VALIDATING, "loaded and caught up", report)
        try:
            whole = live is None or not damage_of(self._store, live.number)
            build.verdict, build.report = self._gate.validate(build.generation, live, whole)
        except (Corrupt, NotFound) as error:
            # A file was damaged after it was loaded: it is made again, and loaded again.
            self._metrics.corrupt_files.labels("gate").inc()
            log.error("gate_cannot_read", generation=build.number, why=str(error))
            if file := error.details.get("file"):
                self._store.delete(file)
                self._tasks.allow_resend(file)
            self._replication.drop(build.number)
            build.start_over()
            build.probes_ready = False
            return
        if not build.generation.heals and not self._snapshot_is_whole(build):
            return
        build.validated_at = time.time()
        if rate := build.passages_per_second():
            build.report[RATE] = rate

    def _snapshot_is_whole(self, build: Build) -> bool:
        """No process has read the reader yet; gateways that could not load it would keep on serving
        the previous generation."""
        try:
            self._records.snapshots.verify(build.snapshot)
        except Corrupt as error:
            self._memory.found_damaged(build.snapshot.number)
            self._metrics.corrupt_files.labels("snapshot").inc()
            build.failure = f"its snapshot is damaged: {error}"
            return False
        return True

    def _commit(self, build: Build, live: Generation | None, why: str) -> bool:
        entry = self._committer.commit(
            build.generation,
            instead_of=live.number if live else None,
            why=why,
            report=build.report,
        )
        if entry is None:
            return False
        build.committed_at = entry.at
        self._memory.flipping, self._memory.build = build, None
        self._memory.succeeded()
        return True

    def _end(self, number: int, state: State, why: str) -> None:
        memory = self._memory
        build = memory.build if memory.build and memory.build.number == number else None
        report = build.report if build else {}
        self._generations.record(number, state, why, report)
        self._replication.drop(number)
        generation = self._generations.get(number)
        if build:
            self._clear_failures(build)
        if (
            generation.heals
            or self._index.full
            or (build and build.verdict and build.verdict.retry)
        ):
            memory.failed()
        memory.build = None
        if build and generation.is_refresh:
            now = time.time()
            phases = build.phase_seconds(now)
            RefreshTrace(build.snapshot).ended(number, phases, str(state), now)
        self._metrics.refreshes.labels(str(state)).inc()
        self._wakeup.send("live")
        log.error("build_ends", generation=number, state=str(state), why=why)
        if self._index.full:
            # Not searched, and writes to live need the disk space now.
            self._index.drop(generation.collection)

    def _clear_failures(self, build: Build) -> None:
        """Deletes inputs that embedders found damaged, so that the next build makes them again, and
        remembers damaged snapshots."""
        folder = f"{build.generation.folder}/"
        outputs = {build.vectors_of(path) for path in build.generation.passage_files}
        for failure in failures(self._store):
            if failure.output_file not in outputs and not failure.output_file.startswith(folder):
                continue
            if failure.blames_input:
                self._metrics.corrupt_files.labels("passages").inc()
                self._store.delete(failure.input_file)
            elif failure.snapshot == build.snapshot.number:
                self._metrics.corrupt_files.labels("snapshot").inc()
                self._memory.found_damaged(failure.snapshot)
            clear_failure(self._store, failure.output_file)
            self._tasks.allow_resend(failure.output_file)

    def _drop(self, number: int) -> None:
        generation = self._generations.get(number)
        self._index.drop(generation.collection)
        self._generations.delete_files(number)
        if self._generations.state(number) is State.RETIRED:
            self._generations.record(number, State.DELETED, "retired long enough")
        log.info("collection_dropped", generation=number)

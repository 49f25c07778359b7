"""Does what was decided. Every action may be done twice, or be cut short, without harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from realm.errors import Corrupt, NotFound
from realm.process.queue import EMBED_SHARD, ENCODE_QUERIES
from realm.process.wakeup import Wakeup
from realm.records import arrow
from realm.records.baselines import GateBaselines
from realm.records.damage import damage_of
from realm.records.failures import clear_failure, failures
from realm.records.generations import Generation, Generations
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import Snapshots
from realm.records.states import BUILD_PHASES, State, phase_figures
from realm.records.store import Store
from realm.search.vector_index import VectorIndex
from services.indexer.build import lifecycle
from services.indexer.build.build import Build, Memory
from services.indexer.build.builder import RATE, Builder
from services.indexer.build.committer import Committer
from services.indexer.build.failed_shards import FailedShards
from services.indexer.build.lifecycle import Action, Observation
from services.indexer.build.loader import load_shard
from services.indexer.gate.gate import Gate
from services.indexer.gate.probes import choose_questions, probes_file, questions_file, read_given
from services.indexer.gateways import QuestionRecorder
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import TaskRequest, TaskSender, task_for
from services.indexer.writes.replication import ReplicationState

#: A look is due after loading for so long, whatever is left.
LOAD_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Actions:
    """The hands of the reconciler; used by its thread alone."""

    def __init__(
        self,
        *,
        store: Store,
        snapshots: Snapshots,
        generations: Generations,
        index: VectorIndex,
        replication: ReplicationState,
        tasks: TaskSender,
        builder: Builder,
        failed_shards: FailedShards,
        gate: Gate,
        committer: Committer,
        wakeup: Wakeup,
        metrics: IndexerMetrics,
        corpus_version: Callable[[], int],
        references: GateBaselines,
        gate_probes: int,
        gate_probes_file: str,
        gate_optimise_seconds: float,
        recorder: QuestionRecorder,
        stopped: Callable[[], bool],
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._generations = generations
        self._index = index
        self._replication = replication
        self._tasks = tasks
        self._builder = builder
        self._failed_shards = failed_shards
        self._gate = gate
        self._committer = committer
        self._wakeup = wakeup
        self._metrics = metrics
        self._corpus_version = corpus_version
        self._references = references
        self._gate_probes = gate_probes
        self._gate_probes_file = gate_probes_file
        self._recorder = recorder
        self._optimise_seconds = gate_optimise_seconds
        self._stopped = stopped

    def perform(self, action: Action, seen: Observation, memory: Memory) -> bool:
        """Does it; tells whether another look is due at once.

        :raises RealmError: if it cannot be done now.
        """
        build = memory.build
        match action:
            case lifecycle.BeginBuild():
                return self._begin(action, seen, memory)
            case lifecycle.Record(number, state, why):
                self._generations.record(number, state, why)
            case lifecycle.DropCollection(number):
                self._drop(number)
            case lifecycle.PointAlias(number):
                self._index.point_alias(self._generations.get(number).collection)
            case lifecycle.EndBuild(number, state, why):
                self._give_up(number, state, why, memory)
            case _ if build is not None and build.number == action.generation:
                return self._go_on(action, seen, memory, build)
        return True

    def _go_on(self, action: Action, seen: Observation, memory: Memory, build: Build) -> bool:
        live = self._generations.find(seen.live.generation) if seen.live else None
        match action:
            case lifecycle.RequestShards(_, files):
                self._request_shards(build, files)
                return False
            case lifecycle.RequestProbes():
                self._request_probes(build.generation, live)
                return False
            case lifecycle.PrepareCollection():
                self._index.create(build.generation.collection, build.generation.vector_size)
                build.start_over()
                build.prepared = True
            case lifecycle.LoadShards(_, files):
                self._load(build, files)
            case lifecycle.Optimise():
                return self._optimise(build)
            case lifecycle.StartReplication():
                self._catch_up(build)
            case lifecycle.Validate():
                self._validate(build, live, memory)
            case lifecycle.Commit(_, why):
                return self._commit(build, live, why, memory)
        return True

    def _catch_up(self, build: Build) -> None:
        made = build.generation
        points = sum(each.rows for each in build.loaded.values())
        self._generations.record_applied(made.number, made.corpus_version, points)
        self._replication.start_catch_up(made, made.corpus_version, points)
        build.follows = True

    def _begin(self, wanted: lifecycle.BeginBuild, seen: Observation, memory: Memory) -> bool:
        version = self._corpus_version()
        healed = seen.live.generation if seen.live and wanted.why == lifecycle.HEAL else 0
        try:
            if healed and not memory.failures:
                self._builder.copy(self._generations.get(healed), wanted)
                return True
            # What was damaged may be a file as well: those of today's corpus are cut anew.
            begun = self._builder.begin(wanted, version, healed)
        except (Corrupt, NotFound) as error:
            memory.damaged.add(wanted.snapshot)
            self._metrics.corrupt_files.labels("snapshot").inc()
            log.error("snapshot_unusable", snapshot=wanted.snapshot, why=str(error))
            return True
        if begun is None:
            memory.empty_at = version
        return begun is not None

    def _request_shards(self, build: Build, files: frozenset[str]) -> None:
        for path in sorted(files - self._failed_shards.look(build, files)):
            output = build.vectors_of(path)
            self._tasks.send(task_for(EMBED_SHARD, build.generation, path, output))

    def _request_probes(self, generation: Generation, live: Generation | None) -> None:
        """The candidate's questions, encoded by its own snapshot and by those compared with."""
        source = questions_file(generation)
        compared = self._references.of(generation, live)
        if not self._store.exists(source):
            given = read_given(Path(self._gate_probes_file)) if self._gate_probes_file else []
            tables = (arrow.read_table(self._store, path) for path in generation.passage_files)
            recorded = self._recorder.probes(compared)
            chosen = choose_questions(tables, self._gate_probes, given, recorded)
            arrow.write_table(self._store, source, chosen)
        for by in compared:
            output = probes_file(generation, by)
            if self._store.exists(output) or self._reuse(generation, by, source, output):
                continue
            want = TaskRequest(ENCODE_QUERIES, by.snapshot, source, output, generation.number)
            self._tasks.send(want)

    def _reuse(self, generation: Generation, by: Generation, source: str, output: str) -> bool:
        """Live encoded the same questions for its own gate: they need not be encoded again."""
        if by.number == generation.number:
            return False
        try:
            theirs = arrow.read_table(self._store, questions_file(by))
            if not theirs.equals(arrow.read_table(self._store, source)):
                return False
            encoded = arrow.read_table(self._store, probes_file(by, by))
        except (NotFound, Corrupt):
            return False
        arrow.write_table(self._store, output, encoded)
        return True

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
                    # Not a file but the collection is gone: Qdrant lost it.
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
            build.hopeless = f"a passage file is damaged: {error}"
        else:
            self._metrics.corrupt_files.labels("vectors").inc()
            self._store.delete(output)
            self._tasks.allow_resend(output)
        log.error("file_refused", generation=build.number, why=str(error))

    def _optimise(self, build: Build) -> bool:
        """Whether Qdrant is done, or is not waited for any longer. Before the collection follows
        the writes, which one that is at work on its indexes may not take; half an index would be
        found too slow, and would be slow to whoever searched it."""
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

    def _validate(self, build: Build, live: Generation | None, memory: Memory) -> None:
        if self._generations.state(build.number) is not State.VALIDATING:
            # Whoever follows the refresh to its end, should this process be lost, learns them here.
            passed = build.phase_seconds(time.time()).items()
            report = phase_figures({name: value for name, value in passed if name in BUILD_PHASES})
            self._generations.record(build.number, State.VALIDATING, "loaded and caught up", report)
        try:
            whole = live is None or not damage_of(self._store, live.number)
            build.verdict, build.report = self._gate.look(build.generation, live, whole)
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
        if not build.generation.heals and not self._snapshot_is_whole(build, memory):
            return
        build.validated_at = time.time()
        if rate := build.passages_per_second():
            build.report[RATE] = rate

    def _snapshot_is_whole(self, build: Build, memory: Memory) -> bool:
        """Nobody has read its reader yet: gateways that cannot would go on with what they have."""
        try:
            self._snapshots.verify(build.snapshot)
        except Corrupt as error:
            memory.damaged.add(build.snapshot.number)
            self._metrics.corrupt_files.labels("snapshot").inc()
            build.hopeless = f"its snapshot is damaged: {error}"
            return False
        return True

    def _commit(self, build: Build, live: Generation | None, why: str, memory: Memory) -> bool:
        entry = self._committer.commit(
            build.generation,
            instead_of=live.number if live else None,
            why=why,
            report=build.report,
        )
        if entry is None:
            return False
        build.committed_at = entry.at
        memory.flipping, memory.build = build, None
        memory.succeeded()
        return True

    def _give_up(self, number: int, state: State, why: str, memory: Memory) -> None:
        build = memory.build if memory.build and memory.build.number == number else None
        report = build.report if build else {}
        self._generations.record(number, state, why, report)
        self._replication.drop(number)
        generation = self._generations.get(number)
        if build:
            self._forget_refusals(build, memory)
        if (
            generation.heals
            or self._index.full
            or (build and build.verdict and build.verdict.again)
        ):
            memory.failed()
        memory.build = None
        if build and not generation.heals:
            now = time.time()
            phases = build.phase_seconds(now)
            RefreshTrace(build.snapshot).ended(number, phases, str(state), now)
        self._metrics.refreshes.labels(str(state)).inc()
        self._wakeup.send("live")
        log.error("build_ends", generation=number, state=str(state), why=why)
        if self._index.full:
            # Nobody searches it, and live's writes need the room now.
            self._index.drop(generation.collection)

    def _forget_refusals(self, build: Build, memory: Memory) -> None:
        """What an embedder found damaged is made again by the next build, or not tried again."""
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
                memory.damaged.add(failure.snapshot)
            clear_failure(self._store, failure.output_file)
            self._tasks.allow_resend(failure.output_file)

    def _drop(self, number: int) -> None:
        generation = self._generations.get(number)
        self._index.drop(generation.collection)
        self._generations.delete_files(number)
        if self._generations.state(number) is State.RETIRED:
            self._generations.record(number, State.DELETED, "retired long enough")
        log.info("collection_dropped", generation=number)

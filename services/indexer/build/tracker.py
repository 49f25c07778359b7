"""Keeps the memory of the candidate's build up to date: what is embedded, whether it may go on."""

from __future__ import annotations

import time
from dataclasses import replace

from realm.errors import NotFound
from realm.records.baselines import GateBaselines
from realm.records.failures import failure_of, failures, quarantined
from realm.records.generation import Generation
from realm.records.task_files import probes_file
from services.indexer.build.build import Build, BuildContext
from services.indexer.build.lifecycle import Live, Observation, Progress, candidate_of

#: A build is stalled when nothing has been embedded or loaded for this long.
STALLED_SECONDS = 1200.0


class BuildTracker:
    """Used by the reconciler's thread alone."""

    def __init__(self, context: BuildContext, baselines: GateBaselines) -> None:
        self._memory = context.memory
        self._store = context.records.store
        self._snapshots = context.records.snapshots
        self._generations = context.records.generations
        self._index = context.index
        self._replication = context.replication
        self._probes = context.settings.gate.probes
        self._baselines = baselines

    def update(self, seen: Observation) -> Observation:
        """Updates the memory of the candidate that was seen; the observation with its progress."""
        candidate = candidate_of(seen)
        if candidate is None:
            return seen
        return replace(seen, candidate=self._progress(candidate.number, seen.live))

    def _progress(self, number: int, live: Live | None) -> Progress:
        try:
            build = self._build(number)
        except NotFound as error:
            return Progress(number, failure=f"its snapshot is gone: {error}")
        self._find_vectors(build)
        if not build.probes_ready:
            build.probes_ready = self._probes_ready(build.generation, live)
        files = frozenset(build.generation.passage_files)
        # A rollback that did not come about took its place in front.
        build.replicating = build.replicating and self._replication.catching_up == number
        with self._replication.lock:
            caught_up = build.replicating and self._replication.may_go_live(number)
        waiting = bool(files - build.loaded.keys())
        idle = time.monotonic() - build.progress_at
        return Progress(
            generation=number,
            files=files,
            embedded=build.embedded,
            loaded=frozenset(build.loaded),
            prepared=build.prepared,
            optimised=build.optimised_at is not None,
            replicating=build.replicating,
            caught_up=caught_up,
            probes_ready=build.probes_ready,
            verdict=build.verdict,
            failure=build.failure
            or self._full()
            or self._quarantined(build)
            or self._failure(build, live),
            stalled=waiting and idle > STALLED_SECONDS,
        )

    def _build(self, number: int) -> Build:
        """The memory of this candidate; a fresh one after a restart."""
        memory = self._memory
        if memory.build is None or memory.build.number != number:
            generation = self._generations.get(number)
            memory.build = Build(generation, self._snapshots.get(generation.snapshot))
        return memory.build

    def _find_vectors(self, build: Build) -> None:
        embedded = self._embedded(build)
        if embedded != build.embedded:
            build.progress_at = time.monotonic()
        build.embedded = embedded
        if len(embedded) == len(build.generation.passage_files) and build.embedded_at is None:
            build.embedded_at = time.time()

    def _embedded(self, build: Build) -> frozenset[str]:
        files = build.generation.passage_files
        if build.generation.words_alone:
            return frozenset(files)
        folder = f"vectors/{build.snapshot.name}/{build.generation.fingerprint}"
        there = set(self._store.files(folder))
        return frozenset(path for path in files if build.vectors_of(path) in there)

    def _probes_ready(self, generation: Generation, live: Live | None) -> bool:
        if not self._probes or not generation.is_refresh:
            return True
        made = self._generations.find(live.generation) if live else None
        return all(
            self._store.exists(output)
            or (each not in (generation, made) and failure_of(self._store, output))
            for each in self._baselines.of(generation, made)
            if (output := probes_file(generation, each))
        )

    def _full(self) -> str:
        """A candidate gives way when Qdrant is full, so that live can still be written to."""
        why = self._index.full
        return f"abandoned to make room: {why}" if why else ""

    def _quarantined(self, build: Build) -> str:
        """Why the probes cannot be encoded, if they killed the embedders' workers. Passages that do
        so are found piece by piece instead."""
        probes = f"{build.generation.folder}/probes"
        for output in quarantined(self._store):
            if output.startswith(probes):
                return f"{output} is in quarantine: its task killed its workers"
        return ""

    def _failure(self, build: Build, live: Live | None) -> str:
        """Why embedders cannot make what the build needs. A failure to encode the probes for the
        best accepted lately is no obstacle; changes are the change applier's concern."""
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

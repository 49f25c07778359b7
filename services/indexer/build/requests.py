"""What a build asks of embedders: the vectors of its shards, and its probe questions encoded.

A shard that no embedder gets through is embedded piece by piece; documents that cannot be embedded
are parked, and the next build is made without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from realm.errors import Corrupt, NotFound
from realm.process.queue import EMBED_SHARD, ENCODE_QUERIES
from realm.records import arrow
from realm.records.baselines import GateBaselines
from realm.records.failures import allow_retry, faults_of_content
from realm.records.generation import Generation, pieces_folder
from realm.records.task_files import probes_file, questions_file
from realm.records.vectors import write_vectors
from realm.settings.groups import Gate as GateSettings
from services.indexer.build.build import Build
from services.indexer.context import Records
from services.indexer.gate.probes import choose_questions, read_given
from services.indexer.gate.shadow import RecentSearches, with_searches
from services.indexer.gateways import QuestionRecorder
from services.indexer.tasks import TaskRequest, TaskSender, task_for
from services.indexer.writes.pieces import PiecewiseEmbedding


@dataclass(slots=True)
class ShardRequests:
    """Used by the reconciler's thread alone; remembers the pieces of one build."""

    records: Records
    tasks: TaskSender
    _has_asked: bool = field(default=False, init=False)
    _build: int = field(default=0, init=False)
    _pieces: dict[str, PiecewiseEmbedding] = field(default_factory=dict, init=False)
    _parked: dict[str, int] = field(default_factory=dict, init=False)

    def send(self, build: Build, files: frozenset[str]) -> None:
        """Asks for the vectors of passage files.

        :raises DependencyUnavailable: if queue or store cannot be reached.
        """
        for path in sorted(files - self._embed_failed(build, files)):
            task = task_for(EMBED_SHARD, build.generation, path, build.vectors_of(path))
            self.tasks.send(task)

    def _embed_failed(self, build: Build, missing: frozenset[str]) -> frozenset[str]:
        """The missing files that are not embedded whole. Once nothing else is missing and documents
        were parked, the build ends and one in its place is requested."""
        if build.number != self._build:
            self._build, self._has_asked = build.number, False
            self._pieces.clear()
            self._parked.clear()
        faults = faults_of_content(self.records.store)
        failed = {path for path in missing if build.vectors_of(path) in faults}
        failed |= missing & (self._pieces.keys() | self._parked.keys())
        for path in sorted(failed - self._parked.keys()):
            try:
                self._embed_piecewise(build, path)
            except Corrupt as error:
                build.failure = f"a file is damaged: {error}"
                if file := error.details.get("file"):
                    self.records.store.delete(file)
        if self._parked and missing == self._parked.keys():
            # No names: the history outlives a document.
            count = sum(self._parked.values())
            build.failure = f"no embedder gets through {count} of its documents: they are parked"
            if not self._has_asked:
                self.records.controls.request_refresh(
                    build.failure, build.snapshot.number, build.generation.forced
                )
                self._has_asked = True
        return frozenset(failed)

    def _embed_piecewise(self, build: Build, path: str) -> None:
        store, output = self.records.store, build.vectors_of(path)
        if path not in self._pieces:
            self._pieces[path] = PiecewiseEmbedding(
                store,
                self.tasks,
                self.records.inputs.of(build.snapshot.number),
                build.generation,
                arrow.read_table(store, path),
                f"{pieces_folder(build.number)}/{PurePosixPath(path).stem}",
            )
        pieces = self._pieces[path]
        if not pieces.poll():
            if why := pieces.embedders_fail:
                build.failure = f"{output} cannot be made, nor any other vectors: {why}"
            return
        if unembeddable := pieces.unembeddable():
            for state, why in unembeddable.items():
                self.records.parked.park(state, build.snapshot.number, why)
            self._parked[path] = len(unembeddable)
        else:
            write_vectors(store, output, pieces.vectors())
        allow_retry(store, output)
        self.tasks.allow_resend(output)
        pieces.close()
        del self._pieces[path]


@dataclass(slots=True)
class ProbeRequests:
    """Chooses a candidate's probe questions, once, and has them encoded."""

    records: Records
    tasks: TaskSender
    settings: GateSettings
    baselines: GateBaselines
    recorder: QuestionRecorder
    searches: RecentSearches

    def send(self, candidate: Generation, live: Generation | None) -> None:
        """Asks for the questions encoded by the candidate's snapshot and by those compared with."""
        source = questions_file(candidate)
        compared = self.baselines.of(candidate, live)
        if not self.records.store.exists(source):
            self._choose(candidate, compared, source)
        for by in compared:
            output = probes_file(candidate, by)
            if not self.records.store.exists(output) and not self._reuse(
                candidate, by, source, output
            ):
                task = TaskRequest(ENCODE_QUERIES, by.snapshot, source, output, candidate.number)
                self.tasks.send(task)

    def _choose(self, candidate: Generation, compared: list[Generation], path: str) -> None:
        given = read_given(Path(self.settings.probes_file)) if self.settings.probes_file else []
        tables = (arrow.read_table(self.records.store, each) for each in candidate.passage_files)
        recorded = self.recorder.probes(compared)
        count, readings = self.settings.probes, self.settings.readings
        chosen = choose_questions(tables, count, given, recorded, readings)
        chosen = with_searches(chosen, self.searches.newest())
        arrow.write_table(self.records.store, path, chosen)

    def _reuse(self, candidate: Generation, by: Generation, source: str, output: str) -> bool:
        """Takes over what live encoded for its own gate, if the questions are the same."""
        if by.number == candidate.number:
            return False
        try:
            theirs = arrow.read_table(self.records.store, questions_file(by))
            if not theirs.equals(arrow.read_table(self.records.store, source)):
                return False
            encoded = arrow.read_table(self.records.store, probes_file(by, by))
        except (NotFound, Corrupt):
            return False
        arrow.write_table(self.records.store, output, encoded)
        return True

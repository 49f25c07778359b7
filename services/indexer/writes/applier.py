"""Takes every acknowledged write to every active generation, in the order of `ReplicationState`.

A thread of its own, so that no cutting, loading or validating delays a write. A step is the
changes of corpus versions after < version ≤ upto: cut once, embedded in pieces by each
generation's snapshot, applied when the vectors are there. What cannot be embedded is parked.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from realm.corpus.changes import changes_file, leave_out, read_changes, write_changes
from realm.corpus.parked import ParkedDocuments
from realm.errors import Corrupt, NotFound, RealmError
from realm.records import arrow
from realm.records.generations import Generation, Generations, generation_folder, pieces_folder
from realm.records.store import Store
from realm.records.vectors import read_vectors, write_vectors
from realm.search.vector_index import VectorIndex
from services.indexer.build.inputs import SnapshotInputs
from services.indexer.build.loader import apply_changes, paired
from services.indexer.gate.point_counts import PointCounts
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import TaskSender
from services.indexer.wake import WakeSignal
from services.indexer.writes.corpus_reader import CorpusReader
from services.indexer.writes.pieces import PiecewiseEmbedding
from services.indexer.writes.replication import ReplicationState
from services.indexer.writes.steps import ChangeStep, StepPlanner

#: Steps that a generation ahead takes for one of live's until it has joined: so it does join.
CATCH_UP_STEPS = 4
#: Live waits so long for the step of a generation ahead, then goes on alone for a while.
HOLD_SECONDS = 10.0
ANSWER_POLL_SECONDS = 0.1
DELTA = re.compile(r"(\d+)-(\d+)\.arrow")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class PlannedStep:
    """A step; its passages on their way to vectors, once they are cut; whether all are there."""

    step: ChangeStep
    pieces: PiecewiseEmbedding | None = None
    embedded: bool = False


class ChangeApplier:
    """One look after the other; `run` is the thread's body."""

    def __init__(
        self,
        *,
        store: Store,
        generations: Generations,
        index: VectorIndex,
        corpus: CorpusReader,
        inputs: SnapshotInputs,
        replication: ReplicationState,
        tasks: TaskSender,
        parked: ParkedDocuments,
        wake: WakeSignal,
        on_applied: Callable[[int], None],
        counts: PointCounts,
        metrics: IndexerMetrics,
        pause_seconds: float,
    ) -> None:
        """:param on_applied: called with a generation's number after each of its steps."""
        self._store = store
        self._generations = generations
        self._index = index
        self._corpus = corpus
        self._inputs = inputs
        self._replication = replication
        self._tasks = tasks
        self._parked = parked
        self._planner = StepPlanner(corpus.writes)
        self._wake = wake
        self._on_applied = on_applied
        self._counts = counts
        self._metrics = metrics
        self._pause = pause_seconds
        self._planned: dict[int, PlannedStep] = {}
        self._embedded: dict[int, dict[int, int]] = {}
        self._held_since: float | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            heard = self._wake.count
            try:
                waiting = self.look()
            except RealmError as error:
                waiting = False
                self._metrics.action_failures.labels("apply_changes").inc()
                log.warning("apply_changes_failed", why=str(error))
            except Exception:
                waiting = False
                self._metrics.action_failures.labels("apply_changes").inc()
                log.exception("apply_changes_failed")
            self._wake.wait(heard, ANSWER_POLL_SECONDS if waiting else self._pause)

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> bool:
        """Applies what can be applied, asks for what is missing; True if something is behind."""
        newest = self._corpus.version()
        order = self._replication.order()
        self._forget({generation.number for generation in order})
        self._metrics.parked_documents.set(len(self._parked.all()))
        behind = False
        for generation in order:
            ahead = generation.number == self._replication.catching_up
            steps = CATCH_UP_STEPS if ahead and not self._replication.gates_live else 1
            # Each is tried: one snapshot's trouble must not keep writes from the others.
            try:
                behind |= self._advance(generation, newest, steps)
            except RealmError as error:
                behind = True
                self._metrics.action_failures.labels("apply_changes").inc()
                log.warning("apply_changes_failed", generation=generation.number, why=str(error))
        self._counts.look(newest)
        return behind

    def _advance(self, generation: Generation, newest: int, steps: int) -> bool:
        number = generation.number
        for _ in range(steps):
            applied = self._replication.applied(number)
            if applied is None or applied >= newest:
                return False
            planned = self._plan(generation, applied, newest)
            if not self._ready(generation, planned) or not self._allowed(number, planned.step):
                return True
            self._apply(generation, planned.step)
        return (self._replication.applied(number) or 0) < newest

    def _plan(self, generation: Generation, applied: int, newest: int) -> PlannedStep:
        """The step under way unless less work does by now; else the next."""
        planned = self._planned.get(generation.number)
        if planned is not None and planned.step.after == applied:
            if planned.embedded:
                return planned
            again = self._planner.replan(planned.step, newest)
            if again.upto != planned.step.upto:
                log.info("planned_again", generation=generation.number, upto=again.upto)
                if planned.pieces is not None:
                    planned.pieces.give_up()
                planned.pieces = None
            planned.step = again
            return planned
        made = self._planned[generation.number] = PlannedStep(
            self._next(generation, applied, newest)
        )
        return made

    def _next(self, generation: Generation, after: int, newest: int) -> ChangeStep:
        """The longest step that is embedded already, as after a restart; else a new one."""
        if generation.number not in self._embedded:
            self._embedded[generation.number] = self._steps_in_store(generation)
        if (known := self._embedded[generation.number].pop(after, None)) is not None:
            return ChangeStep(after, known)
        return self._planner.plan(after, newest)

    def _steps_in_store(self, generation: Generation) -> dict[int, int]:
        found: dict[int, int] = {}
        folders = [generation.folder]
        if generation.heals:
            folders.append(generation_folder(generation.heals))
        for path in (each for folder in folders for each in self._store.files(f"{folder}/deltas")):
            if name := DELTA.fullmatch(path.rsplit("/", 1)[-1]):
                after, upto = int(name[1]), int(name[2])
                found[after] = max(found.get(after, 0), upto)
        return found

    def _take_over(self, generation: Generation, step: ChangeStep) -> None:
        """The changes of one that takes a damaged one's place are embedded already."""
        healed = self._generations.get(generation.heals)
        theirs = healed.delta_file(step.after, step.upto)
        if healed.fingerprint == generation.fingerprint:
            with suppress(NotFound, Corrupt):
                vectors = read_vectors(self._store, theirs)
                write_vectors(self._store, generation.delta_file(step.after, step.upto), vectors)

    def _ready(self, generation: Generation, planned: PlannedStep) -> bool:
        """Whether the step's vectors are there; asks for them if not."""
        step = planned.step
        delta = generation.delta_file(step.after, step.upto)
        source = changes_file(generation.fingerprint, step.after, step.upto)
        if planned.embedded:
            return True
        if planned.pieces is None:
            if not self._store.exists(source):
                states = self._parked.leave_out(self._corpus.changes(step.after, step.upto))
                write_changes(self._store, source, states, self._inputs.of(generation.snapshot))
            if generation.heals and not self._store.exists(delta):
                self._take_over(generation, step)
            if self._store.exists(delta):
                planned.embedded = True
                return True
            planned.pieces = self._cut(generation, source)
        if planned.pieces is None or not planned.pieces.look():
            return False
        self._join(generation, planned.pieces, source, delta)
        planned.pieces, planned.embedded = None, True
        return True

    def _cut(self, generation: Generation, source: str) -> PiecewiseEmbedding | None:
        try:
            # Another generation may have had them cut before it was found out.
            if known := self._parked.among(arrow.read_table(self._store, source)):
                leave_out(self._store, source, known)
            table = arrow.read_table(self._store, source)
        except (Corrupt, NotFound) as error:
            self._metrics.corrupt_files.labels("changes").inc()
            log.warning("changes_made_again", file=source, why=str(error))
            self._store.delete(source)
            return None
        inputs = self._inputs.of(generation.snapshot)
        folder = f"{pieces_folder(generation.number)}/changes"
        return PiecewiseEmbedding(self._store, self._tasks, inputs, generation, table, folder)

    def _join(
        self, generation: Generation, pieces: PiecewiseEmbedding, source: str, delta: str
    ) -> None:
        """The step's one file of vectors; what cannot be embedded is parked."""
        vectors = pieces.vectors()
        if unembeddable := pieces.unembeddable():
            for state, why in unembeddable.items():
                self._parked.park(state, generation.snapshot, why)
            leave_out(self._store, source, list(unembeddable))
        write_vectors(self._store, delta, vectors)
        pieces.close()

    def _allowed(self, number: int, step: ChangeStep) -> bool:
        if self._replication.may_apply(number, step.upto):
            if number == self._replication.live:
                self._held_since = None
            return True
        now = time.monotonic()
        self._held_since = self._held_since or now
        if now - self._held_since < HOLD_SECONDS:
            return False
        log.warning(
            "live_goes_on_alone", ahead=self._replication.catching_up, held_seconds=HOLD_SECONDS
        )
        self._held_since = None
        self._replication.ungate()
        return True

    def _apply(self, generation: Generation, step: ChangeStep) -> None:
        number = generation.number
        delta = generation.delta_file(step.after, step.upto)
        source = changes_file(generation.fingerprint, step.after, step.upto)
        try:
            changes = read_changes(self._store, source)
            vectors = paired(changes.passages, read_vectors(self._store, delta), delta)
        except (Corrupt, NotFound) as error:
            self._metrics.corrupt_files.labels("changes").inc()
            log.warning("changes_made_again", file=delta, why=str(error))
            for path in (delta, source):
                self._store.delete(path)
            self._planned.pop(number, None)
            return
        with self._replication.applying():
            if self._replication.applied(number) != step.after:
                return
            if not self._replication.may_apply(number, step.upto):
                return
            documents = [each.document_id for each in changes.documents]
            replaced = self._counts.before(generation, step.after, step.upto, documents)
            apply_changes(self._index, generation, changes, vectors)
            more = len(changes.passages) - replaced
            known = self._replication.points(number)
            points = None if known is None else known + more
            self._generations.record_applied(number, step.upto, points)
            self._replication.advance(number, step.upto, more)
            self._counts.done(number)
        self._on_applied(number)

    def _forget(self, replication: set[int]) -> None:
        for number in set(self._planned) | set(self._embedded):
            if number not in replication:
                self._planned.pop(number, None)
                self._embedded.pop(number, None)

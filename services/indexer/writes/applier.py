"""Applies every acknowledged write to every active generation, in the order of `ReplicationState`.

In a thread of its own, so that cutting, loading or validating never delays a write. A step is the
changes of corpus versions after < version ≤ upto: it is cut once, embedded in pieces by each
generation's snapshot, and applied when the vectors are there. What cannot be embedded is parked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import structlog

from realm.corpus.changes import changes_file, leave_out, read_changes, step_end, write_changes
from realm.corpus.table import Write
from realm.errors import Conflict, Corrupt, NotFound, RealmError
from realm.records import arrow
from realm.records.generation import Generation, pieces_folder
from realm.records.vectors import no_vectors, read_vectors, to_table, write_vectors
from realm.search.vector_index import VectorIndex
from services.indexer.build.loader import apply_changes, vectors_for
from services.indexer.context import CorpusReader, Records
from services.indexer.gate.point_counts import PointCounts
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import TaskSender
from services.indexer.writes.pieces import PiecewiseEmbedding
from services.indexer.writes.replication import ReplicationState

#: Characters to embed in one step, with `DOCUMENT_COST` for each document.
STEP_COST = 400_000
#: A step that costs less is not planned anew, whatever is deleted meanwhile.
SMALL_COST = 20_000
#: Writes that a plan reads ahead; a version is never split.
LOOK_AHEAD = 1_000
#: Steps that a generation catching up takes for each one of live's, so that it does catch up.
CATCH_UP_STEPS = 4
#: Live waits this long for the step of a generation that gates it, then goes on alone for a while.
HOLD_SECONDS = 10.0
ANSWER_POLL_SECONDS = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChangeStep:
    """The changes of corpus versions after < version ≤ upto. `cost` is in characters to embed;
    `seen` is the newest corpus version when it was planned."""

    after: int
    upto: int
    cost: int = 0
    seen: int = 0


class StepPlanner:
    """Plans steps of bounded work, reading no more of the corpus than a step needs.

    :param writes: those of versions after < version ≤ upto, in the order of versions.
    """

    def __init__(self, writes: Callable[[int, int], Sequence[Write]]) -> None:
        # Generations that follow together take the same steps.
        self._writes = lru_cache(1)(writes)
        self._versions = 1

    def plan(self, after: int, newest: int) -> ChangeStep:
        """The next step of a generation that has applied `after`."""
        upto, writes = self._read_ahead(after, newest)
        end, cost = step_end(writes, upto, STEP_COST)
        return ChangeStep(after, end, cost, newest)

    def replan(self, step: ChangeStep, newest: int) -> ChangeStep:
        """The step, or one that replaces it at half its cost or less, since documents of it were
        deleted or replaced meanwhile. So a step is abandoned only a few times."""
        if newest <= step.seen or step.cost <= SMALL_COST:
            return step
        other = self.plan(step.after, newest)
        if 2 * other.cost <= step.cost:
            return other
        return ChangeStep(step.after, step.upto, step.cost, newest)

    def _read_ahead(self, after: int, newest: int) -> tuple[int, Sequence[Write]]:
        """The version read up to, and the writes until then."""
        while True:
            upto = min(newest, after + self._versions)
            writes = self._writes(after, upto)
            if upto < newest and len(writes) < LOOK_AHEAD:
                self._versions *= 2
                continue
            if len(writes) >= 2 * LOOK_AHEAD:
                self._versions = max(1, self._versions // 2)
            return upto, writes


@dataclass(slots=True)
class PlannedStep:
    """A step under way: its passages, once they are cut, and whether all are embedded."""

    step: ChangeStep
    pieces: PiecewiseEmbedding | None = None
    embedded: bool = False


class ChangeApplier:
    """`tick` is called by one thread, again and again."""

    def __init__(
        self,
        records: Records,
        index: VectorIndex,
        corpus: CorpusReader,
        replication: ReplicationState,
        tasks: TaskSender,
        counts: PointCounts,
        metrics: IndexerMetrics,
        on_applied: Callable[[int], None],
    ) -> None:
        """:param on_applied: called with a generation's number after each of its steps."""
        self._store = records.store
        self._generations = records.generations
        self._parked = records.parked
        self._inputs = records.inputs
        self._index = index
        self._corpus = corpus
        self._replication = replication
        self._tasks = tasks
        self._counts = counts
        self._metrics = metrics
        self._on_applied = on_applied
        self._planner = StepPlanner(corpus.writes)
        self._planned: dict[int, PlannedStep] = {}
        #: By generation: the steps (after: upto) whose vectors were in the store at the start.
        self._embedded: dict[int, dict[int, int]] = {}
        self._held_since: float | None = None

    def tick(self) -> float | None:
        """Applies what can be applied and requests what is missing. Returns the seconds until it is
        due again; None: all is applied."""
        newest = self._corpus.version()
        order = self._replication.order()
        self._forget_others({generation.number for generation in order})
        self._metrics.parked_documents.set(len(self._parked.all()))
        behind = False
        for generation in order:
            # Each is tried: one snapshot's trouble must not keep writes from the others.
            try:
                behind |= self._advance(generation, newest)
            except RealmError as error:
                behind = True
                self._metrics.action_failures.labels("apply_changes").inc()
                log.warning("apply_changes_failed", generation=generation.number, why=str(error))
        self._counts.compare(newest)
        if behind:
            return ANSWER_POLL_SECONDS
        return self._counts.pause_seconds if self._counts.in_doubt else None

    def _advance(self, generation: Generation, newest: int) -> bool:
        """Takes the steps that can be taken now; returns whether the generation is still behind."""
        number = generation.number
        catches_up = number == self._replication.catching_up and not self._replication.gates_live
        for _ in range(CATCH_UP_STEPS if catches_up else 1):
            applied = self._replication.applied(number)
            if applied is None or applied >= newest:
                return False
            planned = self._plan(generation, applied, newest)
            if not self._is_embedded(generation, planned) or not self._is_allowed(
                number, planned.step
            ):
                return True
            self._apply(generation, planned.step)
        return (self._replication.applied(number) or 0) < newest

    def _plan(self, generation: Generation, applied: int, newest: int) -> PlannedStep:
        """The step under way unless a cheaper one replaces it by now; else the next."""
        planned = self._planned.get(generation.number)
        if planned is None or planned.step.after != applied:
            step = self._embedded_step(generation, applied) or self._planner.plan(applied, newest)
            planned = self._planned[generation.number] = PlannedStep(step)
        elif not planned.embedded:
            step = self._planner.replan(planned.step, newest)
            if step.upto != planned.step.upto:
                log.info("step_replanned", generation=generation.number, upto=step.upto)
                if planned.pieces is not None:
                    planned.pieces.abandon()
                planned.pieces = None
            planned.step = step
        return planned

    def _embedded_step(self, generation: Generation, after: int) -> ChangeStep | None:
        """The longest step whose vectors an earlier process left in the store."""
        if generation.number not in self._embedded:
            self._embedded[generation.number] = self._steps_in_store(generation)
        upto = self._embedded[generation.number].pop(after, None)
        return None if upto is None else ChangeStep(after, upto)

    def _steps_in_store(self, generation: Generation) -> dict[int, int]:
        found: dict[int, int] = {}
        owners = [generation.number, generation.heals] if generation.heals else [generation.number]
        for owner in owners:
            for after, upto in self._generations.delta_steps(owner):
                found[after] = max(found.get(after, 0), upto)
        return found

    def _is_embedded(self, generation: Generation, planned: PlannedStep) -> bool:
        """Whether the step's vectors are there; requests them if not."""
        if planned.embedded:
            return True
        step = planned.step
        delta = generation.delta_file(step.after, step.upto)
        source = changes_file(generation.fingerprint, step.after, step.upto)
        if planned.pieces is None:
            if not self._store.exists(source):
                states = self._parked.leave_out(self._corpus.changes(step.after, step.upto))
                write_changes(self._store, source, states, self._inputs.of(generation.snapshot))
            if generation.words_alone:
                planned.embedded = self._note_words(source, delta)
                return planned.embedded
            if generation.heals and not self._store.exists(delta):
                self._copy_from_healed(generation, step)
            if self._store.exists(delta):
                planned.embedded = True
                return True
            planned.pieces = self._cut(generation, source)
        if planned.pieces is None or not planned.pieces.poll():
            return False
        self._join(generation, planned.pieces, source, delta)
        planned.pieces, planned.embedded = None, True
        return True

    def _note_words(self, source: str, delta: str) -> bool:
        """Words need no embedder: the file says no more than that the step was planned."""
        try:
            passages = arrow.read_table(self._store, source)
        except (Corrupt, NotFound) as error:
            self._make_again(error, source)
            return False
        ids, hashes = (passages[name].to_pylist() for name in ("passage_id", "content_hash"))
        write_vectors(self._store, delta, to_table(ids, hashes, no_vectors(len(ids)), {}))
        return True

    def _copy_from_healed(self, generation: Generation, step: ChangeStep) -> None:
        """The damaged generation that this one replaces has embedded its changes already."""
        healed = self._generations.get(generation.heals)
        if healed.fingerprint == generation.fingerprint:
            with suppress(NotFound, Corrupt, Conflict):
                vectors = read_vectors(self._store, healed.delta_file(step.after, step.upto))
                write_vectors(self._store, generation.delta_file(step.after, step.upto), vectors)

    def _cut(self, generation: Generation, source: str) -> PiecewiseEmbedding | None:
        try:
            # Another generation may have had them cut before a document was parked.
            if known := self._parked.among(arrow.read_table(self._store, source)):
                leave_out(self._store, source, known)
            table = arrow.read_table(self._store, source)
        except (Corrupt, NotFound) as error:
            self._make_again(error, source)
            return None
        inputs = self._inputs.of(generation.snapshot)
        folder = f"{pieces_folder(generation.number)}/changes"
        return PiecewiseEmbedding(self._store, self._tasks, inputs, generation, table, folder)

    def _join(
        self, generation: Generation, pieces: PiecewiseEmbedding, source: str, delta: str
    ) -> None:
        """Writes the step's one file of vectors; parks what cannot be embedded."""
        vectors = pieces.vectors()
        if unembeddable := pieces.unembeddable():
            for state, why in unembeddable.items():
                # A generation that lags may meet what was replaced, and what replaced it is free.
                if not self._corpus.changed_since(state.version, [state.document_id]):
                    self._parked.park(state, generation.snapshot, why)
            leave_out(self._store, source, list(unembeddable))
        with suppress(Conflict):  # of an earlier try whose answer was lost; it is read before use
            write_vectors(self._store, delta, vectors)
        pieces.close()

    def _is_allowed(self, number: int, step: ChangeStep) -> bool:
        if self._replication.may_apply(number, step.upto):
            if number == self._replication.live:
                self._held_since = None
            return True
        now = time.monotonic()
        self._held_since = self._held_since or now
        if now - self._held_since < HOLD_SECONDS:
            return False
        log.warning(
            "live_goes_on_alone",
            gated_by=self._replication.catching_up,
            held_seconds=HOLD_SECONDS,
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
            vectors = vectors_for(self._store, generation, changes.passages, delta)
        except (Corrupt, NotFound) as error:
            self._make_again(error, delta, source)
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
            if generation.marked:
                self._index.mark(generation.collection, step.upto)
            more = len(changes.passages) - replaced
            known = self._replication.points(number)
            points = None if known is None else known + more
            self._generations.record_applied(number, step.upto, points)
            self._replication.advance(number, step.upto, more)
            self._counts.done(number)
        self._on_applied(number)

    def _make_again(self, error: RealmError, *files: str) -> None:
        self._metrics.corrupt_files.labels("changes").inc()
        log.warning("changes_made_again", files=files, why=str(error))
        for path in files:
            self._store.delete(path)

    def _forget_others(self, numbers: set[int]) -> None:
        for known in (self._planned, self._embedded):
            for number in known.keys() - numbers:
                del known[number]

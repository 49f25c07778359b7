"""Takes every acknowledged write to every active generation, in the order of `Following`.

A thread of its own, so that no cutting, loading or validating delays a write. A step is the
changes of corpus versions after < version ≤ upto: cut once, embedded by each generation's
snapshot, applied when the vectors are there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog

from realm.corpus.changes import changes_file, read_changes, step_end, write_changes
from realm.errors import Corrupt, NotFound, RealmError
from realm.generations import Generation, Generations
from realm.queue import EMBED_CHANGES
from realm.refusals import forgive, refusal_of
from realm.search.qdrant import PassageIndex
from realm.store import Store
from realm.vectors import read_vectors, to_table, write_vectors
from services.indexer.bell import Bell
from services.indexer.corpus_reader import CorpusReader
from services.indexer.following import Following
from services.indexer.inputs import SnapshotInputs
from services.indexer.loader import apply_changes, paired
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import Tasks, wanted

STEP_DOCUMENTS = 200
#: Steps that a generation ahead takes for one of live's until it has joined: so it does join.
CATCH_UP_STEPS = 4
#: Live waits so long for the step of a generation ahead, then goes on alone for a while.
HOLD_SECONDS = 10.0
ANSWER_POLL_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """The changes of corpus versions after < version ≤ upto."""

    after: int
    upto: int


class Follower:
    """One look after the other; `run` is the thread's body."""

    def __init__(
        self,
        *,
        store: Store,
        generations: Generations,
        index: PassageIndex,
        corpus: CorpusReader,
        inputs: SnapshotInputs,
        following: Following,
        tasks: Tasks,
        bell: Bell,
        on_applied: Callable[[int], None],
        metrics: IndexerMetrics,
        pause_seconds: float,
    ) -> None:
        """:param on_applied: called with a generation's number after each of its steps."""
        self._store = store
        self._generations = generations
        self._index = index
        self._corpus = corpus
        self._inputs = inputs
        self._following = following
        self._tasks = tasks
        self._bell = bell
        self._on_applied = on_applied
        self._metrics = metrics
        self._pause = pause_seconds
        self._planned: dict[int, Step] = {}
        self._embedded: dict[int, dict[int, int]] = {}
        self._held_since: float | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            heard = self._bell.rings
            try:
                waiting = self.look()
            except RealmError as error:
                waiting = False
                self._metrics.action_failures.labels("follow").inc()
                log.warning("follow_failed", why=str(error))
            except Exception:
                waiting = False
                self._metrics.action_failures.labels("follow").inc()
                log.exception("follow_failed")
            self._bell.wait(heard, ANSWER_POLL_SECONDS if waiting else self._pause)

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> bool:
        """Applies what can be applied, asks for what is missing; True if something is behind."""
        newest = self._corpus.version()
        order = self._following.order()
        self._forget({generation.number for generation in order})
        behind = False
        for generation in order:
            ahead = generation.number == self._following.ahead
            steps = CATCH_UP_STEPS if ahead and not self._following.joined else 1
            # Each is tried: one snapshot's trouble must not keep writes from the others.
            try:
                behind |= self._advance(generation, newest, steps)
            except RealmError as error:
                behind = True
                self._metrics.action_failures.labels("follow").inc()
                log.warning("follow_failed", generation=generation.number, why=str(error))
        return behind

    def _advance(self, generation: Generation, newest: int, steps: int) -> bool:
        number = generation.number
        for _ in range(steps):
            applied = self._following.applied(number)
            if applied is None or applied >= newest:
                return False
            step = self._planned.get(number)
            if step is None or step.after != applied:
                step = self._planned[number] = self._plan(generation, applied, newest)
            if not self._ready(generation, step) or not self._allowed(number, step):
                return True
            self._apply(generation, step)
        return (self._following.applied(number) or 0) < newest

    def _plan(self, generation: Generation, after: int, newest: int) -> Step:
        """The longest step that is embedded already, as after a restart; else a new one."""
        if generation.number not in self._embedded:
            self._embedded[generation.number] = self._steps_in_store(generation)
        if (known := self._embedded[generation.number].pop(after, None)) is not None:
            return Step(after, known)
        versions = [state.version for state in self._corpus.changes(after, newest)]
        return Step(after, step_end(versions, newest, STEP_DOCUMENTS))

    def _steps_in_store(self, generation: Generation) -> dict[int, int]:
        found: dict[int, int] = {}
        for path in self._store.files(f"{generation.folder}/deltas"):
            after, upto = path.rsplit("/", 1)[-1].removesuffix(".arrow").split("-")
            found[int(after)] = max(found.get(int(after), 0), int(upto))
        return found

    def _ready(self, generation: Generation, step: Step) -> bool:
        """Whether the step's vectors are there; asks for them if not."""
        delta = generation.delta_file(step.after, step.upto)
        source = changes_file(generation.fingerprint, step.after, step.upto)
        if self._store.exists(delta) and self._store.exists(source):
            return True
        if not self._store.exists(source):
            states = self._corpus.changes(step.after, step.upto)
            write_changes(self._store, source, states, self._inputs.of(generation.snapshot))
        if self._store.exists(delta):
            return True
        try:
            unchanged = not read_changes(self._store, source).passages
        except (Corrupt, NotFound) as error:
            self._metrics.corrupt_files.labels("changes").inc()
            log.warning("changes_made_again", file=source, why=str(error))
            self._store.delete(source)
            return False
        if unchanged:
            nothing = np.zeros((0, generation.vector_size), dtype=np.float32)
            write_vectors(self._store, delta, to_table([], [], nothing, {}))
            return True
        if (refusal := refusal_of(self._store, delta)) and refusal.blames_input:
            self._metrics.corrupt_files.labels("changes").inc()
            log.warning("changes_made_again", file=source, why=refusal.why)
            self._store.delete(source)
            forgive(self._store, delta)
            self._tasks.forget(delta)
            return False
        self._tasks.ask(wanted(EMBED_CHANGES, generation, source, delta))
        return False

    def _allowed(self, number: int, step: Step) -> bool:
        if self._following.may_apply(number, step.upto):
            if number == self._following.live:
                self._held_since = None
            return True
        now = time.monotonic()
        self._held_since = self._held_since or now
        if now - self._held_since < HOLD_SECONDS:
            return False
        log.warning("live_goes_on_alone", ahead=self._following.ahead, held_seconds=HOLD_SECONDS)
        self._held_since = None
        self._following.release()
        return True

    def _apply(self, generation: Generation, step: Step) -> None:
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
            self._tasks.forget(delta)
            return
        with self._following.lock:
            if self._following.applied(number) != step.after:
                return
            if not self._following.may_apply(number, step.upto):
                return
            apply_changes(self._index, generation, changes, vectors)
            self._generations.record_applied(number, step.upto)
            self._following.advance(number, step.upto)
        self._on_applied(number)

    def _forget(self, following: set[int]) -> None:
        for number in set(self._planned) | set(self._embedded):
            if number not in following:
                self._planned.pop(number, None)
                self._embedded.pop(number, None)

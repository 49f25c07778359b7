"""The commit, for a refresh and for a rollback alike: one conditional put, then what follows it."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from realm.errors import (
    Conflict,
    DeadlinePassed,
    FailedPrecondition,
    NotReady,
    RealmError,
)
from realm.process.wakeup import Wakeup
from realm.records.controls import damaged
from realm.records.generation import Generation, LiveEntry
from realm.records.states import SERVED, State
from realm.search.vector_index import VectorIndex
from services.indexer.context import Records
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.replication import ReplicationState

#: Of the time for a rollback: for the put itself, and for the answer to arrive.
LAST_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Committer:
    """Makes generations live. Thread-safe: the put decides between two."""

    def __init__(
        self,
        records: Records,
        index: VectorIndex,
        replication: ReplicationState,
        wakeup: Wakeup,
        metrics: IndexerMetrics,
        term: Callable[[], int] = lambda: 0,
    ) -> None:
        self._store = records.store
        self._generations = records.generations
        self._controls = records.controls
        self._index = index
        self._replication = replication
        self._wakeup = wakeup
        self._metrics = metrics
        self._term = term
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def commit(
        self,
        generation: Generation,
        *,
        instead_of: int | None,
        why: str,
        report: dict[str, float] | None = None,
        deadline: float = math.inf,
        request_id: str = "",
    ) -> LiveEntry | None:
        """Makes a validated generation live; None if it has not applied what live has.

        :param instead_of: the generation that the caller saw live.
        :param deadline: of the monotonic clock: no put is begun after it.
        :param request_id: of the rollback that asks for it.
        :raises Conflict: if another one is live by now.
        :raises DeadlinePassed: if the deadline has passed; nothing is committed.
        """
        with self._locked(deadline):
            before = self._generations.live()
            if (before.generation if before else None) != instead_of:
                raise Conflict("another generation went live meanwhile: read again")
            if not self._replication.may_go_live(generation.number):
                return None
            kept = self._kept(before, generation.number)
            if time.monotonic() >= deadline:
                raise _too_late()
            entry = self._generations.commit(
                generation.number,
                after=before,
                by=self._name,
                why=why,
                term=self._term(),
                request_id=request_id,
            )
            serving = {generation.number: generation, **({kept.number: kept} if kept else {})}
            self._replication.set_serving(serving, live=generation.number)
        log.info("live", generation=generation.number, instead_of=instead_of, why=why)
        self._follow_up(generation, kept, why, report)
        return entry

    def fence(self, floor: int) -> None:
        """After this no leader before `floor` commits any more.

        :raises Conflict: if a later leader did so.
        """
        self._generations.fence(self._term(), floor, self._name)

    def roll_back(self, why: str, timeout: float, request_id: str = "") -> int:
        """Makes the retained generation live and pauses refresh; returns its number.

        :param timeout: seconds; the last of them are for the put, and to tell the caller.
        :param request_id: a rollback under it that took place is not carried out once more.
        :raises FailedPrecondition: if there is none.
        :raises NotReady: if it did not catch up with live in time.
        :raises DeadlinePassed: if the time is over; it is not carried out then.
        """
        deadline = time.monotonic() + timeout - min(LAST_SECONDS, timeout / 4)
        # Read before the history: a commit between the two makes ours a conflict.
        live = self._generations.live()
        try:
            if (done := self._made_live_by(request_id)) is not None:
                return done
            return self._roll_back(live, why, deadline, request_id)
        except RealmError:
            # Its put may have taken place without an answer, or the caller sent it twice at once.
            if (done := self._made_live_by(request_id)) is not None:
                return done
            raise

    def _made_live_by(self, request_id: str) -> int | None:
        """The generation that this rollback made live, if it took place."""
        entries = self._generations.live_history() if request_id else []
        return next((each.generation for each in entries if each.request_id == request_id), None)

    def _roll_back(self, live: LiveEntry | None, why: str, deadline: float, request_id: str) -> int:
        retained = self._retained(live)
        if live is None or retained is None:
            raise FailedPrecondition(self._no_way_back(live))
        if time.monotonic() >= deadline:
            raise _too_late()
        self._controls.pause(True, f"rollback: {why}")
        self._replication.start_catch_up(retained)
        try:
            while True:
                entry = self.commit(
                    retained,
                    instead_of=live.generation,
                    why=f"rollback: {why}".rstrip(": "),
                    deadline=deadline,
                    request_id=request_id,
                )
                if entry is not None:
                    self._metrics.refreshes.labels("rolled_back").inc()
                    return entry.generation
                self._await_step(deadline - time.monotonic())
        finally:
            if self._replication.catching_up == retained.number:
                self._replication.clear()

    @contextmanager
    def _locked(self, deadline: float) -> Iterator[None]:
        seconds = -1.0 if deadline == math.inf else max(0.0, deadline - time.monotonic())
        if not self._replication.lock.acquire(timeout=seconds):
            raise _too_late()
        try:
            yield
        finally:
            self._replication.lock.release()

    def _await_step(self, seconds: float) -> None:
        with self._replication.changed:
            if seconds <= 0 or not self._replication.changed.wait(seconds):
                raise NotReady(
                    "the retained generation is behind live and does not catch up in time;"
                    " refresh is paused, ask for the rollback again",
                    waited=True,
                )

    def _kept(self, before: LiveEntry | None, now: int) -> Generation | None:
        """What a rollback goes back to: what was live, or what was retained if that is damaged."""
        if before is None:
            return None
        made = self._generations.find(before.generation)
        if made is None or before.generation in damaged(self._store):
            kept = self._retained(before)
            return kept if kept and kept.number != now else None
        return made

    def _retained(self, live: LiveEntry | None) -> Generation | None:
        no_way_back = damaged(self._store) | ({live.generation} if live else set())
        for number in reversed(self._generations.numbers()):
            if number in no_way_back:
                continue
            if self._generations.state(number) is State.RETAINED:
                return self._generations.get(number)
        return None

    def _no_way_back(self, live: LiveEntry | None) -> str:
        before = [each.generation for each in self._generations.live_history()]
        lost = [each for each in before if each in damaged(self._store)]
        if lost and live is not None and lost[-1] != live.generation:
            return (
                f"there is no retained generation to roll back to: the collection of generation"
                f" {lost[-1]} was damaged, and it was retired"
            )
        return "there is no retained generation to roll back to: it takes two that were live"

    def _follow_up(
        self,
        generation: Generation,
        kept: Generation | None,
        why: str,
        report: dict[str, float] | None,
    ) -> None:
        """Does at once what the next reconciliation would repair: states, alias, wake-up."""
        self._wakeup.send("live")
        self._metrics.last_swap_timestamp.set_to_current_time()
        try:
            self._generations.record(generation.number, State.LIVE, why, report)
            # One without a manifest that can be read counts as retained until this says otherwise.
            others = {*self._generations.numbers(), *self._generations.set_aside()}
            for number in sorted(others - {generation.number}):
                state = self._generations.state(number)
                if kept and number == kept.number:
                    if state is not State.RETAINED:
                        self._generations.record(number, State.RETAINED, why)
                elif state in SERVED:
                    self._generations.record(number, State.RETIRED, why)
            self._index.point_alias(generation.collection)
        except RealmError as error:
            log.warning("follow_up_left_to_reconciler", why=str(error))


def _too_late() -> DeadlinePassed:
    return DeadlinePassed(
        "the time that the caller gave is over: nothing was committed", waited=True
    )

"""Models that others publish while a training goes on, as `realm snapshots publish` does.

The training publishes nothing over one that is on its way to live, and goes on from it once it is
live. One that the gate refuses changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from realm.errors import Corrupt, RealmError
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import IN_PROGRESS, State
from realm.records.store import Store
from services.trainer.context import Background
from services.trainer.data import state_of_snapshot

POLL_SECONDS = 2.0
#: For how long one is waited for that nobody seems to be at: half put, or abandoned.
PATIENCE_SECONDS = 120.0

_log = structlog.get_logger(__name__)


class OtherModels:
    """Looks for snapshots without a parent that are newer than what the training began with.

    :param since: the number of the snapshot that it began with.
    """

    def __init__(
        self, store: Store, since: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._snapshots = Snapshots(store)
        self._generations = Generations(store)
        self._since = since
        self._clock = clock
        self._looking: Background[Snapshot | None] = Background("look-for-models")
        self._poll_at = 0.0
        # Both threads that read the store ask, the one that looks and the one that publishes.
        self._lock = threading.Lock()
        self._seen_at: dict[int, float] = {}
        self._unusable: set[int] = set()

    def poll(self) -> Snapshot | None:
        """Call between steps. Another's model that is live now; never raises."""
        try:
            found = self._looking.take()
        except RealmError as error:
            _log.warning("models_of_others_unknown", why=error.message)
            return None
        now = self._clock()
        if found is None and not self._looking.busy and now >= self._poll_at:
            self._poll_at = now + POLL_SECONDS
            self._looking.start(self.live)
        return found

    def live(self) -> Snapshot | None:
        """The snapshot that is live, if another published it and its files are whole.

        :raises DependencyUnavailable: if the store does not answer.
        """
        with self._lock:
            entry = self._generations.live()
            generation = self._generations.find(entry.generation) if entry else None
            if generation is None:
                return None
            for each in self._others():
                if each.number == generation.snapshot:
                    return self._whole(each)
            return None

    def began_with(self, number: int) -> None:
        """The training published its first snapshot."""
        self._since = max(self._since, number)

    def on_the_way(self, before: int) -> bool:
        """Whether another's newest model of a number below `before` may still become live.

        :raises DependencyUnavailable: if the store does not answer.
        """
        with self._lock:
            being_put = [n for n in self._snapshots.being_put(self._since) if n < before]
            if any(map(self._worth_waiting_for, being_put)):
                return True
            others = [each for each in self._others() if each.number < before]
            return bool(others) and self._may_become_live(others[-1].number)

    def _others(self) -> list[Snapshot]:
        found = self._snapshots.all()
        return [
            each
            for each in found
            if each.number > self._since
            and each.parent is None
            and each.number not in self._unusable
        ]

    def _may_become_live(self, number: int) -> bool:
        state = state_of_snapshot(self._generations, number)
        if state is State.ABANDONED:
            # The indexer tries again, as after a change of leaders.
            return self._worth_waiting_for(number)
        return state in IN_PROGRESS or state is State.LIVE

    def _worth_waiting_for(self, number: int) -> bool:
        now = self._clock()
        return now - self._seen_at.setdefault(number, now) < PATIENCE_SECONDS

    def _whole(self, snapshot: Snapshot) -> Snapshot | None:
        try:
            self._snapshots.materialise(snapshot)
        except Corrupt as error:
            self._unusable.add(snapshot.number)
            _log.warning("model_not_taken", snapshot=snapshot.number, why=error.message)
            return None
        return snapshot

"""The loop: look, decide, act; at every ring and at least every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from realm.errors import DependencyUnavailable, RealmError
from realm.records.generations import Generations
from realm.records.states import ACTIVE
from services.indexer.build.actions import Actions
from services.indexer.build.build import Memory
from services.indexer.build.lifecycle import Observation, decide
from services.indexer.build.observer import Observer
from services.indexer.metrics import IndexerMetrics
from services.indexer.wake import WakeSignal
from services.indexer.writes.replication import ReplicationState

log = structlog.get_logger(__name__)


class Reconciler:
    """One thread's work; `run` is its body."""

    def __init__(
        self,
        *,
        observer: Observer,
        actions: Actions,
        replication: ReplicationState,
        generations: Generations,
        memory: Memory,
        wake: WakeSignal,
        after_look: Callable[[Observation], None],
        metrics: IndexerMetrics,
        pause_seconds: float,
        stopping: threading.Event,
    ) -> None:
        self._observer = observer
        self._actions = actions
        self._replication = replication
        self._generations = generations
        self._memory = memory
        self._wake = wake
        self._after_look = after_look
        self._metrics = metrics
        self._pause = pause_seconds
        self._stopping = stopping

    def run(self) -> None:
        heard = self._wake.count
        while not self._stopping.is_set():
            try:
                again = self.look()
            except RealmError as error:
                again = False
                if isinstance(error, DependencyUnavailable):
                    self._metrics.dependency_up.labels("store").set(0)
                self._metrics.action_failures.labels("reconcile").inc()
                log.warning("reconcile_failed", why=str(error))
            except Exception:
                again = False
                self._metrics.action_failures.labels("reconcile").inc()
                log.exception("reconcile_failed")
            heard = self._wake.wait(heard, 0.0 if again else self._pause)

    def look(self) -> bool:
        """One look; tells whether the next is due at once, because something was done."""
        seen = self._observer.observe(self._memory)
        self._keep_following(seen)
        again = False
        for action in decide(seen).actions:
            if self._stopping.is_set():
                return False
            try:
                again |= self._actions.perform(action, seen, self._memory)
            except RealmError as error:
                name = type(action).__name__
                self._metrics.action_failures.labels(name).inc()
                log.warning("action_failed", action=name, why=str(error))
                again = False
                break
        self._after_look(seen)
        return again

    def _keep_following(self, seen: Observation) -> None:
        """Live and retained follow as soon as their collections are whole.

        While Qdrant cannot be reached nobody knows, and nothing is changed.
        """
        if not seen.qdrant_reachable:
            return
        served = {seen.live.generation, seen.live.previous} if seen.live else set()
        serving = {
            each.number: self._generations.get(each.number)
            for each in seen.generations
            if each.number in served and each.has_collection and each.state in ACTIVE
        }
        with self._replication.lock:
            # A rollback may have come in between: then the next look sees all of it.
            if self._observer.live() == seen.live:
                self._replication.set_serving(serving, seen.live.generation if seen.live else None)

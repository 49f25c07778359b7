"""Reconciles: observes, decides, acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from realm.errors import DependencyUnavailable, RealmError
from realm.records.states import ACTIVE
from services.indexer.build.actions import Actions
from services.indexer.build.build import BuildContext
from services.indexer.build.lifecycle import BeginBuild, Observation, decide
from services.indexer.build.observer import Observer
from services.indexer.build.tracker import BuildTracker

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reconciler:
    """`reconcile` is called by one thread, at every wake signal and at least every few seconds.

    :param report: called after each round of actions.
    """

    context: BuildContext
    observer: Observer
    tracker: BuildTracker
    actions: Actions
    report: Callable[[Observation], None]

    def reconcile(self) -> float | None:
        """Seconds until the next round is due: 0.0, because something was done; None: nothing is
        under way.

        :raises RealmError: if store or corpus cannot be read.
        """
        metrics = self.context.metrics
        try:
            seen = self.tracker.update(self.observer.observe())
        except DependencyUnavailable:
            metrics.dependency_up.labels("store").set(0)
            raise
        self._set_serving(seen)
        again, failed = False, False
        for action in decide(seen):
            if self.context.stopped():
                return None
            try:
                again |= self.actions.perform(action, seen)
            except RealmError as error:
                name = "begin_build" if isinstance(action, BeginBuild) else str(action.step)
                metrics.action_failures.labels(name).inc()
                log.warning("action_failed", action=name, why=str(error))
                again, failed = False, True
                break
        self.report(seen)
        if again:
            return 0.0
        pause = self.context.settings.indexer.reconcile_seconds
        return pause if failed or self._is_busy(seen) else None

    def _is_busy(self, seen: Observation) -> bool:
        """Whether there is something to look at that sends no wake-up."""
        memory = self.context.memory
        building = seen.candidate is not None or memory.build is not None
        return building or memory.flipping is not None or not seen.qdrant_reachable

    def _set_serving(self, seen: Observation) -> None:
        """Live and retained follow as soon as their collections are whole.

        While Qdrant cannot be reached this is unknown, and nothing changes.
        """
        if not seen.qdrant_reachable:
            return
        replication = self.context.replication
        served = {seen.live.generation, seen.live.previous} if seen.live else set()
        serving = {
            each.number: self.context.records.generations.get(each.number)
            for each in seen.generations
            if each.number in served and each.has_collection and each.state in ACTIVE
        }
        live = seen.live.generation if seen.live else None
        with replication.lock:
            if replication.is_serving(serving.keys(), live):
                return
            # A rollback may have come in between: then the next round sees all of it.
            if self.observer.live() == seen.live:
                replication.set_serving(serving, live)

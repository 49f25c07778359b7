"""Publishes snapshots: parameters are copied between two steps, written and put in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from realm.errors import Conflict, Diverged, RealmError
from realm.model.checkpoint import Model, copy_model
from realm.model.publishing import non_finite_parameter, publish_model
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import Snapshot, Snapshots
from services.trainer.context import Background, Cadence
from services.trainer.metrics import TrainerMetrics

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Published:
    snapshot: Snapshot
    seconds: float


class Publisher:
    """Runs one publication at a time, never queued: the next step offers again.

    :param notify: called after each publication; a lost notification costs the indexer a poll.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        cadence: Cadence,
        metrics: TrainerMetrics,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.newest: Snapshot | None = snapshots.newest()
        self._snapshots = snapshots
        self._cadence = cadence
        self._metrics = metrics
        self._notify = notify
        self._clock = clock
        self._running = _publications()
        if self.newest is not None:
            self._measure(self.newest)

    def publish_now(self, model: Model, step: int, *, from_base: bool = False) -> Snapshot:
        """Publishes the base, in the caller's thread.

        :param from_base: it derives from no snapshot of the store.
        """
        if from_base:
            self.newest = None
        published = self._publish(model, step, {})
        self._cadence.happened(step, self._clock())
        self._record(published)
        return published.snapshot

    def offer(
        self,
        model: Model,
        step: int,
        figures: Callable[[], dict[str, float]],
        *,
        unless: Callable[[int], bool] = lambda number: False,
        last: bool = False,
    ) -> bool:
        """Starts a publication if one is due and none is running; true if it did.

        :param unless: asked in the background, when the snapshot has its number: nothing is
            published then.
        :param last: no step follows, so it is due however recent the newest is.
        """
        now = self._clock()
        known = self.newest is not None and self.newest.step == step
        due = self._cadence.due(step, now) or (last and not known and self._cadence.rested(now))
        if self._running.busy or not due:
            return False
        frozen, about = copy_model(model), figures()
        self._cadence.happened(step, self._clock())
        return self._running.start(lambda: self._publish_unless(unless, frozen, step, about))

    def follow(self, snapshot: Snapshot) -> None:
        """What is published next derives from `snapshot`, which another published."""
        self._running = _publications()
        self.newest = snapshot
        self._cadence.happened(snapshot.step, self._clock())
        self._measure(snapshot)

    def collect(self, wait_seconds: float = 0.0) -> Snapshot | None:
        """The snapshot published since the last call; waits so long for one that is being put.

        A store that cannot be reached is logged; the next snapshot comes when it is due.

        :raises Diverged: if a parameter is not finite.
        """
        try:
            published = self._running.take(wait_seconds)
        except Diverged:
            raise
        except RealmError as error:
            _log.warning("snapshot_not_published", why=error.message)
            return None
        if published is None:
            return None
        self._record(published)
        return published.snapshot

    def _publish_unless(
        self, unless: Callable[[int], bool], model: Model, step: int, figures: dict[str, float]
    ) -> _Published | None:
        try:
            return self._publish(model, step, figures, unless)
        except Conflict as error:
            _log.info("snapshot_held_back", step=step, why=error.message)
            return None

    def _publish(
        self,
        model: Model,
        step: int,
        figures: dict[str, float],
        unless: Callable[[int], bool] = lambda number: False,
    ) -> _Published:
        started = time.perf_counter()
        if name := non_finite_parameter(model):
            raise Diverged(
                f"the parameter {name} at step {step} is not finite: nothing is published",
                parameter=name,
                step=step,
            )
        parent = self.newest.number if self.newest else None
        snapshot = publish_model(
            self._snapshots, model, step=step, parent=parent, metrics=figures, unless=unless
        )
        self._notify("snapshot")
        seconds = time.perf_counter() - started
        RefreshTrace(snapshot).published(seconds, until=time.time())
        return _Published(snapshot, seconds)

    def _record(self, published: _Published) -> None:
        self.newest = published.snapshot
        self._metrics.publish_seconds.observe(published.seconds)
        self._measure(published.snapshot)
        _log.info(
            "snapshot_published",
            snapshot=published.snapshot.number,
            step=published.snapshot.step,
            seconds=round(published.seconds, 3),
            trace_id=RefreshTrace(published.snapshot).trace_id,
        )

    def _measure(self, snapshot: Snapshot) -> None:
        self._metrics.published_step.set(snapshot.step)
        self._metrics.published_timestamp.set(snapshot.created_at)


def _publications() -> Background[_Published | None]:
    return Background("publish")

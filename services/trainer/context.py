"""What every part of a trainer process shares: how it waits for dependencies, does work in the
background, and knows that something is due."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import structlog
import torch
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    wait_exponential,
)

from realm.errors import DependencyUnavailable
from realm.records.store import Store
from realm.settings import Settings
from realm.training.distributed import ALONE, World
from services.trainer.metrics import TensorBoardWriter, TrainerMetrics

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Heartbeat:
    """Touches a file for liveness probes: a step that hangs lets it grow old.

    :param file: empty for none.
    """

    def __init__(self, file: str = "") -> None:
        self._file = Path(file) if file else None

    def beat(self) -> None:
        if self._file is not None:
            self._file.touch()


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """One process of a training. Only the leader's metrics and board are shown to anybody."""

    settings: Settings
    store: Store
    device: torch.device
    metrics: TrainerMetrics
    world: World = ALONE
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    board: TensorBoardWriter = field(default_factory=TensorBoardWriter)


def retry_while_unavailable(
    stop: threading.Event, heartbeat: Heartbeat, work: Callable[[], T]
) -> T | None:
    """Retries, ever more slowly, while a dependency is unavailable; None once `stop` is set."""
    for attempt in Retrying(
        retry=retry_if_exception_type(DependencyUnavailable),
        wait=wait_exponential(FIRST_RETRY_SECONDS, max=LONGEST_RETRY_SECONDS),
        sleep=sleep_using_event(stop),
        before_sleep=_log_retry,
    ):
        if stop.is_set():
            break
        heartbeat.beat()
        with attempt:
            return work()
    return None


def _log_retry(state: RetryCallState) -> None:
    assert state.outcome is not None
    _log.warning(
        "dependency_unavailable",
        why=str(state.outcome.exception()),
        retry_seconds=state.upcoming_sleep,
    )


class Background(Generic[T]):
    """Runs one job at a time in a thread; its result is taken between two steps. Never queues."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._future: Future[T] | None = None

    @property
    def busy(self) -> bool:
        """A job is running, or its result has not been taken yet."""
        return self._future is not None

    def start(self, job: Callable[[], T]) -> bool:
        """False, and nothing started, if busy."""
        if self.busy:
            return False
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # raised again where the result is taken
                future.set_exception(error)

        self._future = future
        # No daemon: native code that is cut off at the end of the process aborts it. One that hangs
        # in a dependency is not waited for (`exit_or_kill_after`).
        threading.Thread(target=run, name=self._name, daemon=False).start()
        return True

    def take(self, wait_seconds: float = 0.0) -> T | None:
        """The result, once; None if there is none within `wait_seconds`. Raises the job's error."""
        if self._future is None:
            return None
        try:
            self._future.exception(wait_seconds)
        except TimeoutError:
            return None
        future, self._future = self._future, None
        return future.result()


@dataclass(slots=True)
class Cadence:
    """Something due every so many steps, but not twice within `min_seconds`.

    :param last_time: seconds of a monotonic clock.
    """

    every_steps: int
    min_seconds: float
    last_step: int
    last_time: float

    def due(self, step: int, now: float) -> bool:
        return step - self.last_step >= self.every_steps and self.rested(now)

    def rested(self, now: float) -> bool:
        return now - self.last_time >= self.min_seconds

    def happened(self, step: int, now: float) -> None:
        self.last_step, self.last_time = step, now

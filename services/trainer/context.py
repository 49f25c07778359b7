"""What every part of a trainer process shares, and how it waits for its dependencies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

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

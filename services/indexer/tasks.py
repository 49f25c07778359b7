"""Asks embedders for files. The store is the ledger: a file that is missing is asked for, and again
once no queue and no embedder holds the task any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from realm.errors import DependencyUnavailable
from realm.process.queue import (
    ASKED_AT,
    DELTA_QUEUE,
    EMBED_CHANGES,
    EMBED_QUEUE,
    EMBED_SHARD,
    ENCODE_QUERIES,
    make_celery,
)
from realm.records.generations import Generation
from realm.settings import Settings
from services.indexer.metrics import IndexerMetrics
from services.indexer.outstanding_tasks import OutstandingTasks

QUEUES = {EMBED_SHARD: EMBED_QUEUE, EMBED_CHANGES: DELTA_QUEUE, ENCODE_QUERIES: DELTA_QUEUE}

CONNECT_SECONDS = 1.0
#: A queue that accepts and does not answer is given up after so long.
ANSWER_SECONDS = 2.0
#: Files that are remembered to have been asked for.
REMEMBERED = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A file that an embedder makes from another, for a generation, with a snapshot."""

    task: str
    snapshot: int
    input_file: str
    output_file: str
    generation: int


def wanted(task: str, generation: Generation, input_file: str, output_file: str) -> TaskRequest:
    """What a generation wants made with its own snapshot."""
    return TaskRequest(task, generation.snapshot, input_file, output_file, generation.number)


def make_sender(settings: Settings) -> Celery:
    """An application that says at once that the queue is away: whoever asks looks again anyway."""
    app = make_celery(settings)
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "max_retries": 1,
        "interval_start": 0.0,
        "interval_step": 0.0,
        "interval_max": 0.0,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
    }
    return app


class TaskSender:
    """Sends a task where nobody holds it. Thread-safe."""

    def __init__(
        self,
        celery: Celery,
        outstanding: OutstandingTasks,
        again_seconds: float,
        metrics: IndexerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._celery = celery
        self._outstanding = outstanding
        self._again = again_seconds
        self._metrics = metrics
        self._clock = clock
        #: When to look again at what was asked for, by file.
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def send(self, want: TaskRequest) -> bool:
        """Sends the task unless it was sent lately, or somebody holds it; tells whether it was.

        :raises DependencyUnavailable: if the queue cannot be reached.
        """
        queue, output, now = QUEUES[want.task], want.output_file, self._clock()
        with self._lock:
            before = self._due.get(output)
            if before is not None and now < before:
                return False
            if len(self._due) >= REMEMBERED:
                self._due = {file: due for file, due in self._due.items() if due > now}
            self._due[output] = now + self._again
        try:
            if self._outstanding.holds(queue, output):
                return False
            self._send_task(want)
            self._outstanding.sent(queue, output)
        except (OperationalError, RedisError, OSError) as error:
            self.allow_resend(output)
            raise DependencyUnavailable(f"the queue takes no task for {output}: {error}") from error
        if before is not None:
            self._metrics.shards_requeued.inc()
            log.warning("asked_again", task=want.task, output=output)
        return True

    def allow_resend(self, output_file: str | None = None) -> None:
        """The file (all files: None) may be asked for again at once."""
        with self._lock:
            if output_file is None:
                self._due.clear()
            else:
                self._due.pop(output_file, None)
        self._outstanding.forget()

    def _send_task(self, want: TaskRequest) -> None:
        self._celery.send_task(
            want.task,
            kwargs={
                "snapshot": want.snapshot,
                "input_file": want.input_file,
                "output_file": want.output_file,
                "generation": want.generation,
            },
            queue=QUEUES[want.task],
            headers={ASKED_AT: time.time()},
            retry=False,
        )

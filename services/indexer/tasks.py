"""Sends tasks to embedders. The store is the ledger: a missing file is requested, and requested
again once neither a queue nor an embedder holds its task.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from realm.errors import DependencyUnavailable
from realm.process.identity import process_has_ended
from realm.process.queue import (
    ASKED_AT,
    DELTA_QUEUE,
    EMBED_CHANGES,
    EMBED_QUEUE,
    EMBED_SHARD,
    ENCODE_QUERIES,
    holder,
    make_celery,
    work_key,
)
from realm.records.generation import Generation
from realm.settings import Settings
from services.indexer.metrics import IndexerMetrics

QUEUES = {EMBED_SHARD: EMBED_QUEUE, EMBED_CHANGES: DELTA_QUEUE, ENCODE_QUERIES: DELTA_QUEUE}

CONNECT_SECONDS = 1.0
#: Time limit for an answer from Redis.
ANSWER_SECONDS = 2.0
#: Deletes a claim unless somebody else has it by now.
TAKE_BACK = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)
#: How long the contents of a queue are cached.
READ_SECONDS = 1.0
#: Most files whose last request is remembered.
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


def task_for(task: str, generation: Generation, input_file: str, output_file: str) -> TaskRequest:
    """A task with the generation's own snapshot."""
    return TaskRequest(task, generation.snapshot, input_file, output_file, generation.number)


def make_sender(settings: Settings) -> Celery:
    """A Celery application that fails at once when the queue is away: the next tick tries again."""
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


class OutstandingTasks:
    """Which tasks are held, in a queue or by an embedder, according to Redis. Thread-safe.

    It also removes tasks of unwanted generations from their queue. A task whose embedder died is
    held by nobody, though Celery delivers it again some day: that embedder then finds the file.
    A task on its way from the queue to an embedder's claim may look lost and be sent twice: the
    second embedder skips it.
    """

    def __init__(
        self,
        redis_url: str,
        is_wanted: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param is_wanted: whether a generation's tasks are, as embedders decide it too."""
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection may be left from before Redis' restart
        )
        self._is_wanted = is_wanted
        self._clock = clock
        #: By queue: the output files of its tasks, and when it was read.
        self._queues: dict[str, tuple[set[str], float]] = {}

    def holds(self, queue: str, output_file: str) -> bool:
        """Whether the task that makes a file is held.

        :raises redis.exceptions.RedisError: if Redis does not answer.
        :raises RealmError: if the store does not.
        """
        # In this order: an embedder that takes it from the queue meanwhile holds it then.
        return output_file in self._files(queue) or self._is_claimed(work_key(output_file))

    def _is_claimed(self, key: str) -> bool:
        """A claim of a process that has certainly ended is taken back, not waited for."""
        claim = cast("bytes | None", self._redis.get(key))
        if claim is None or not process_has_ended(holder(claim)):
            return claim is not None
        return not self._redis.eval(TAKE_BACK, 1, key, claim)

    def mark_sent(self, queue: str, output_file: str) -> None:
        self._files(queue).add(output_file)

    def clear_cache(self) -> None:
        self._queues.clear()

    def close(self) -> None:
        self._redis.close()

    def _files(self, queue: str) -> set[str]:
        now = self._clock()
        files, read_at = self._queues.get(queue, (set(), float("-inf")))
        if now - read_at >= READ_SECONDS:
            files = self._read(queue)
            self._queues[queue] = files, now
        return files

    def _read(self, queue: str) -> set[str]:
        found: set[str] = set()
        wanted: dict[int, bool] = {}
        for message in self._redis.lrange(queue, 0, -1):
            try:
                arguments = _arguments(message)
                output_file, number = str(arguments["output_file"]), int(arguments["generation"])
            except (ValueError, LookupError, TypeError):
                continue  # not one of ours
            if number not in wanted:
                wanted[number] = self._is_wanted(number)
            if wanted[number]:
                found.add(output_file)
            else:
                self._redis.lrem(queue, 1, message)  # type: ignore[arg-type]  # bytes will do
        return found


def _arguments(message: bytes | str) -> Any:
    """The keyword arguments of a task, from a message as kombu puts it into Redis."""
    return json.loads(base64.b64decode(json.loads(message)["body"]))[1]


@dataclass(slots=True)
class TaskSender:
    """Sends a task unless it is held already. Thread-safe."""

    celery: Celery
    outstanding: OutstandingTasks
    again_seconds: float
    metrics: IndexerMetrics
    clock: Callable[[], float] = time.monotonic
    #: By file: when to check again whether its task is still held.
    _due: dict[str, float] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def send(self, request: TaskRequest) -> bool:
        """Sends the task unless it was sent lately or is held; returns whether it was sent.

        :raises DependencyUnavailable: if the queue cannot be reached.
        """
        queue, output, now = QUEUES[request.task], request.output_file, self.clock()
        with self._lock:
            before = self._due.get(output)
            if before is not None and now < before:
                return False
            if len(self._due) >= REMEMBERED:
                self._due = {file: due for file, due in self._due.items() if due > now}
            self._due[output] = now + self.again_seconds
        try:
            if self.outstanding.holds(queue, output):
                return False
            arguments = asdict(request)
            self.celery.send_task(
                arguments.pop("task"),
                kwargs=arguments,
                queue=queue,
                headers={ASKED_AT: time.time()},
                retry=False,
            )
            self.outstanding.mark_sent(queue, output)
        except (OperationalError, RedisError, OSError) as error:
            self.allow_resend(output)
            raise DependencyUnavailable(f"the queue takes no task for {output}: {error}") from error
        if before is not None:
            self.metrics.shards_requeued.inc()
            log.warning("task_resent", task=request.task, output=output)
        return True

    def allow_resend(self, output_file: str | None = None) -> None:
        """Lets the task for a file (None: every task) be sent again at once."""
        with self._lock:
            if output_file is None:
                self._due.clear()
            else:
                self._due.pop(output_file, None)
        self.outstanding.clear_cache()

    def close(self) -> None:
        self.outstanding.close()

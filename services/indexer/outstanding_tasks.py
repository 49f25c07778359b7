"""Which tasks somebody holds, as Redis tells: those in a queue, and those that an embedder is at.

What a dead embedder held is held by nobody, though Celery has it delivered once more some day: the
embedder that gets it then finds the file there. A task that is on its way from the queue to an
embedder's claim may be taken for lost, and sent twice: whoever gets it second leaves it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from realm.process.queue import work_key

#: A queue is read at most so often.
READ_SECONDS = 1.0
#: Redis is given up after so long.
ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Read:
    """The files that a queue's tasks make, at a moment of the monotonic clock."""

    files: set[str]
    at: float


class OutstandingTasks:
    """Reads; but tasks of a generation that nobody wants any more it takes out of their queue, so
    that no queue is longer than what is wanted. Thread-safe."""

    def __init__(
        self,
        redis_url: str,
        is_wanted: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param is_wanted: tells of a generation; as embedders judge before they begin."""
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection may be left from before Redis' restart
        )
        self._is_wanted = is_wanted
        self._clock = clock
        self._queues: dict[str, _Read] = {}

    def holds(self, queue: str, output_file: str) -> bool:
        """Whether somebody holds the task that makes a file.

        :raises redis.exceptions.RedisError: if Redis does not answer.
        :raises RealmError: if the store does not.
        """
        # In this order: an embedder that takes it from the queue meanwhile holds it then.
        return output_file in self._read(queue).files or bool(
            self._redis.exists(work_key(output_file))
        )

    def sent(self, queue: str, output_file: str) -> None:
        """The queue holds it from now on."""
        self._read(queue).files.add(output_file)

    def forget(self) -> None:
        """What was read of the queues."""
        self._queues.clear()

    def close(self) -> None:
        self._redis.close()

    def _read(self, queue: str) -> _Read:
        now = self._clock()
        read = self._queues.get(queue)
        if read is None or now - read.at >= READ_SECONDS:
            read = self._queues[queue] = _Read(self._files(queue), now)
        return read

    def _files(self, queue: str) -> set[str]:
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

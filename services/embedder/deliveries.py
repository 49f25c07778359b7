"""Shards that kill their worker: counted on Redis, then kept out of the way in the store.

Redis redelivers the task of a dead worker without end. Each start is counted under the name of
the file it should make; a shard that was started too often without an end is quarantined.
"""

from __future__ import annotations

import time

import structlog
from redis import Redis
from redis.exceptions import RedisError

from realm.refusals import quarantine_file
from realm.store import Store

KEY = "realm:deliveries:"
EXPIRY_SECONDS = 24 * 3600

log = structlog.get_logger(__name__)


class Deliveries:
    """Counts starts without an end. Without Redis nothing is counted and all work goes on."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=5)

    def started(self, output_file: str) -> int:
        """Which start in a row this is: 1 for the first; 0 if nobody counts."""
        try:
            with self._redis.pipeline() as pipe:
                pipe.incr(KEY + output_file)
                pipe.expire(KEY + output_file, EXPIRY_SECONDS)
                return int(pipe.execute()[0])
        except RedisError as error:
            log.warning("deliveries not counted", output=output_file, why=str(error))
            return 0

    def ended(self, output_file: str) -> None:
        """The worker lived through it, whatever came of it."""
        try:
            self._redis.delete(KEY + output_file)
        except RedisError as error:
            log.warning("deliveries not cleared", output=output_file, why=str(error))

    def close(self) -> None:
        self._redis.close()


def quarantine(
    store: Store, *, snapshot: int, input_file: str, output_file: str, deliveries: int
) -> None:
    """Keeps the shard from being tried again until somebody deletes the file written here."""
    store.write_json(
        quarantine_file(output_file),
        {
            "snapshot": snapshot,
            "input_file": input_file,
            "output_file": output_file,
            "deliveries": deliveries,
            "at": time.time(),
        },
    )

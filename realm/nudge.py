"""Nudges: who waits for a change in the store is woken early, over Redis pub/sub.

Apart from `realm.queue`, because trainer and gateway know no Celery.
"""

from __future__ import annotations

from redis import Redis
from redis.exceptions import RedisError

NUDGE_CHANNEL = "realm:nudge"


class Nudge:
    """Wakes sleepers early over Redis pub/sub. Losing a nudge costs a poll interval, no more."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=5)
        self._pubsub = self._redis.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )
        self._subscribed = False

    def send(self, about: str) -> None:
        """Never raises: whoever is not woken wakes by himself."""
        try:
            self._redis.publish(NUDGE_CHANNEL, about)
        except RedisError:
            return

    def wait(self, seconds: float) -> str | None:
        """Sleeps until a nudge or for `seconds`; returns what the nudge was about.

        :raises redis.exceptions.RedisError: at once, if Redis cannot be reached.
        """
        if not self._subscribed:
            self._pubsub.subscribe(NUDGE_CHANNEL)
            self._subscribed = True
        message = self._pubsub.get_message(timeout=seconds)
        return message["data"].decode() if message else None

    def close(self) -> None:
        self._pubsub.close()
        self._redis.close()

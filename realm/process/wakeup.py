"""Wake-ups over Redis pub/sub, so that processes see changes in the store before their next poll.

Apart from `realm.process.queue`, because trainer and gateway do not import Celery.
"""

from __future__ import annotations

import threading

from redis import Redis
from redis.exceptions import RedisError

WAKEUP_CHANNEL = "realm:nudge"
#: While wake-ups arrive, polls only make up for lost ones: their pauses are so many times as long,
#: since a bucket bills each look.
RARER = 5.0
#: How long a Redis that accepts connections may take to answer.
ANSWER_SECONDS = 1.0
#: How long closing waits for the last messages to be sent.
CLOSE_SECONDS = 2.0


class Wakeup:
    """Sends wake-ups and waits for them. A lost one costs one polling interval, at rest too."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(
            redis_url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS
        )
        self._pubsub = self._redis.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )
        self._subscribed = False
        self._unsent: dict[str, None] = {}
        self._news = threading.Condition()
        self._closed = False
        self._sender: threading.Thread | None = None

    def send(self, about: str) -> None:
        """Never raises and never blocks: a thread of its own sends."""
        with self._news:
            if self._closed:
                return
            self._unsent[about] = None
            if self._sender is None:
                self._sender = threading.Thread(target=self._send, name="wakeup", daemon=True)
                self._sender.start()
            self._news.notify()

    def wait(self, seconds: float) -> str | None:
        """Waits up to `seconds` for a wake-up; returns its topic.

        :raises redis.exceptions.RedisError: at once, if Redis cannot be reached.
        """
        if not self._subscribed:
            self._pubsub.subscribe(WAKEUP_CHANNEL)
            self._subscribed = True
        message = self._pubsub.get_message(timeout=seconds)
        return message["data"].decode() if message else None

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        if self._sender is not None:
            self._sender.join(CLOSE_SECONDS)
        self._pubsub.close()
        self._redis.close()

    def _send(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._unsent or self._closed)
                if not self._unsent:
                    return
                topics, self._unsent = self._unsent, {}
            for about in topics:
                try:
                    self._redis.publish(WAKEUP_CHANNEL, about)
                except RedisError:
                    continue

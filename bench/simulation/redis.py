"""The simulated Redis: keys that expire, locks, the task queue and wake-ups.

Only what the product calls. Messages are lost, delayed and delivered twice; all of it may be wiped.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import LockNotOwnedError

from bench.simulation.network import Network, Service
from realm.process.wakeup import Wakeup

T = TypeVar("T")
#: Shares of messages that are lost, and delivered twice.
LOST, TWICE = 0.02, 0.05
LATEST_SECONDS = 1.0


class Redis:
    """What the server holds."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, float]] = {}
        self.queues: dict[str, list[bytes]] = {}

    def wipe(self) -> None:
        self.values.clear()
        self.queues.clear()

    def get(self, key: str, now: float) -> bytes | None:
        value, until = self.values.get(key, (b"", -1.0))
        return value if until > now else None

    def put(self, key: str, value: bytes, until: float) -> None:
        self.values[key] = value, until


class Client:
    """`redis.Redis` of one process."""

    def __init__(self, redis: Redis, network: Network) -> None:
        self._redis = redis
        self._network = network

    def get(self, key: str) -> bytes | None:
        return self.ask(lambda: self._redis.get(key, self.now))

    def set(self, key: str, value: str, px: int) -> None:
        self.ask(lambda: self._redis.put(key, value.encode(), self.now + px / 1000))

    def delete(self, key: str) -> None:
        self.ask(lambda: self._redis.values.pop(key, None))

    def lrange(self, queue: str, _start: int, _stop: int) -> list[bytes]:
        return self.ask(lambda: list(self._redis.queues.get(queue, [])))

    def lrem(self, queue: str, _count: int, message: bytes) -> None:
        def remove() -> None:
            if message in (held := self._redis.queues.get(queue, [])):
                held.remove(message)

        self.ask(remove)

    def lock(self, name: str, timeout: float, **_: object) -> Lock:
        return Lock(self, self._redis, name, timeout)

    def pipeline(self) -> Pipeline:
        return Pipeline(self, self._redis)

    def pubsub(self, **_: object) -> None:
        """Wake-ups come by another way."""

    def close(self) -> None:
        """It has nothing open."""

    @property
    def now(self) -> float:
        return self._network.scheduler.now

    def ask(self, effect: Callable[[], T]) -> T:
        return self._network.call(
            Service.REDIS, "redis", "", effect, failure=NoConnection, atomic=True
        )


class Pipeline:
    """Of increments and expiries: all there is."""

    def __init__(self, client: Client, redis: Redis) -> None:
        self._client = client
        self._redis = redis
        self._key = ""

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def incr(self, key: str) -> None:
        self._key = key

    def expire(self, key: str, seconds: float) -> None:
        self._expiry = seconds

    def execute(self) -> list[int]:
        def increment() -> list[int]:
            now = self._client.now
            count = int(self._redis.get(self._key, now) or b"0") + 1
            self._redis.put(self._key, str(count).encode(), now + self._expiry)
            return [count, 1]

        return self._client.ask(increment)


class Lock:
    """As `redis.lock.Lock`: a token under a name, which expires."""

    def __init__(self, client: Client, redis: Redis, name: str, timeout: float) -> None:
        self._client = client
        self._redis = redis
        self._name = name
        self._timeout = timeout
        self._token = b""

    def acquire(self, token: str) -> bool:
        self._token = token.encode()

        def take() -> bool:
            now = self._client.now
            if self._redis.get(self._name, now) is not None:
                return False
            self._redis.put(self._name, self._token, now + self._timeout)
            return True

        return self._client.ask(take)

    def reacquire(self) -> bool:
        def extend() -> bool:
            now = self._client.now
            if self._redis.get(self._name, now) != self._token:
                return False
            self._redis.put(self._name, self._token, now + self._timeout)
            return True

        if not self._client.ask(extend):
            raise LockNotOwnedError("it expired")
        return True

    def release(self) -> None:
        def give_back() -> None:
            if self._redis.get(self._name, self._client.now) == self._token:
                del self._redis.values[self._name]

        self._client.ask(give_back)


class Sender:
    """What the product calls of a `Celery` application."""

    def __init__(self, redis: Redis, network: Network, rng: random.Random) -> None:
        self._redis = redis
        self._network = network
        self._rng = rng
        self._sent = 0

    def send_task(
        self, name: str, *, kwargs: dict[str, Any], queue: str, headers: object, retry: bool
    ) -> None:
        self._sent += 1
        arguments = json.dumps([[], kwargs, {}]).encode()
        body = base64.b64encode(arguments).decode()
        message = json.dumps({"body": body, "task": name, "number": self._sent}).encode()

        def put() -> None:
            drawn = self._rng.random()
            for _ in range(0 if drawn < LOST else 2 if drawn < LOST + TWICE else 1):
                held = self._redis.queues.setdefault(queue, [])
                held.insert(self._rng.randrange(len(held) + 1), message)

        self._network.call(Service.REDIS, "send", name, put, failure=NoConnection)


def task_in(message: bytes) -> tuple[str, dict[str, Any]]:
    """Its name and arguments."""
    found = json.loads(message)
    arguments: dict[str, Any] = json.loads(base64.b64decode(found["body"]))[1]
    return found["task"], arguments


class SimulatedWakeup(Wakeup):
    """Wake-ups, each of which is lost or late; `tell` delivers one."""

    def __init__(
        self, network: Network, rng: random.Random, tell: Callable[[str, float], None]
    ) -> None:
        self._network = network
        self._rng = rng
        self._tell = tell

    def send(self, about: str) -> None:
        drawn = self._rng.random()
        if drawn >= LOST:
            self._tell(about, drawn * LATEST_SECONDS if drawn < 0.2 else 0.0)

    def close(self) -> None:
        """It has nothing open."""

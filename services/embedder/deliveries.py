"""Who is at which work, and which work kills its workers: on Redis; what kills is then kept out of
the way in the store.

An embedder claims a task, under the name of the file it should make, and renews the claim for as
long as it makes headway. A claim that lapsed without an end is a death. A task that may be asked
for, or delivered, more than once is done by one embedder at a time; whoever else meets it leaves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError
from redis.lock import Lock
from redis.retry import Retry

from realm.process.queue import work_key
from realm.process.threads import VitalThread
from realm.records.failures import quarantine_file
from realm.records.store import Store

#: Starts without an end, by output file: one more than the deaths while somebody is at it.
KEY = "realm:deliveries:"
EXPIRY_SECONDS = 24 * 3600
RENEWALS = 4
#: Who made no headway for so long hangs: the claim is renewed no more.
HANGS_SECONDS = 120.0

log = structlog.get_logger(__name__)


class Deliveries:
    """One claim at a time. Without Redis nothing is claimed or counted and all work goes on."""

    def __init__(
        self,
        redis_url: str,
        silence_seconds: float,
        idle_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """:param silence_seconds: a claim that is not renewed for so long lapses.
        :param idle_seconds: for how long the work in hand has made no headway.
        """
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=1,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 1),  # a connection may be left from before Redis' restart
        )
        self._silence = silence_seconds
        self._idle_seconds = idle_seconds
        self._claim: Lock | None = None
        self._output = ""
        self._counted = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        VitalThread("claim", self._renew).start()

    def claim(self, output_file: str) -> bool:
        """False: another embedder is at the work."""
        claim = self._redis.lock(
            work_key(output_file),
            timeout=self._silence,
            blocking=False,
            thread_local=False,
            raise_on_release_error=False,
        )
        try:
            if not claim.acquire():
                return False
        except RedisError as error:
            log.warning("work not claimed", output=output_file, why=str(error))
        with self._lock:
            self._claim, self._output, self._counted = claim, output_file, False
        return True

    def started(self) -> int:
        """The work that is claimed begins. How many embedders died of it before."""
        self._counted = True
        try:
            with self._redis.pipeline() as pipe:
                pipe.incr(KEY + self._output)
                pipe.expire(KEY + self._output, EXPIRY_SECONDS)
                return int(pipe.execute()[0]) - 1
        except RedisError as error:
            log.warning("deliveries not counted", output=self._output, why=str(error))
            return 0

    def ended(self, *, lived: bool = True) -> None:
        """The work claimed, if any, is claimed no more. `lived`: if it was begun, it did its
        embedder no harm, whatever came of it: deaths before count no more."""
        with self._lock:
            claim, self._claim = self._claim, None
            if claim is None:
                return
            try:
                if lived and self._counted:
                    self._redis.delete(KEY + self._output)
                claim.release()
            except RedisError as error:
                log.warning("deliveries not cleared", output=self._output, why=str(error))

    def close(self) -> None:
        self._closed.set()
        self._redis.close()

    def _renew(self) -> None:
        while not self._closed.wait(self._silence / RENEWALS):
            with self._lock:
                if self._claim is not None and self._idle_seconds() < HANGS_SECONDS:
                    _renewed(self._claim)


def _renewed(claim: Lock) -> None:
    try:
        claim.reacquire()
    except LockError:
        # Redis was away or wiped, or this process slept: perhaps another one is at it by now.
        try:
            claim.acquire()
        except RedisError:
            return
    except RedisError:
        return


def quarantine(
    store: Store, *, snapshot: int, input_file: str, output_file: str, deliveries: int
) -> None:
    """Keeps the shard from being tried again until somebody deletes the file written here.

    :param deliveries: how many workers died of it.
    """
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

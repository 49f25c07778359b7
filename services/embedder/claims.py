"""Claims on work, and counts of the workers that died of it, on Redis.

An embedder claims a task, under the name of the file it makes, and renews the claim while it makes
progress. A claim that lapses without an end is a death. Each task is done by one embedder at a
time, however often it is requested or delivered; any other embedder that gets it skips it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError, RedisError
from redis.lock import Lock
from redis.retry import Retry

from realm.process.identity import process_identity
from realm.process.queue import held_by, work_key
from realm.process.threads import VitalThread

#: Starts without an end, by output file: one more than the deaths while a worker is at it.
KEY = "realm:deliveries:"
EXPIRY_SECONDS = 24 * 3600
RENEWALS = 4
#: After so long without progress a worker counts as hung, and its claim is not renewed.
HANGS_SECONDS = 120.0

log = structlog.get_logger(__name__)


class WorkClaims:
    """One claim at a time. Without Redis all work goes on, unclaimed and uncounted."""

    def __init__(
        self,
        redis_url: str,
        silence_seconds: float,
        idle_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """:param silence_seconds: a claim that is not renewed for so long lapses.
        :param idle_seconds: how long ago the task in hand last made progress.
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
        #: By it others see that this process has ended, and that its claim is void.
        self._token = held_by(process_identity())
        self._output = ""
        self._counted = False
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def keep(self) -> None:
        """Renews the claim in hand in time, in a thread, until `close`."""
        VitalThread("claim", self._keep).start()

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
            if not claim.acquire(token=self._token):
                return False
        except RedisError as error:
            log.warning("work_not_claimed", output=output_file, why=str(error))
        with self._lock:
            self._claim, self._output, self._counted = claim, output_file, False
        return True

    def start(self) -> int:
        """Counts the start of the claimed work; how many embedders died of it before."""
        self._counted = True
        try:
            with self._redis.pipeline() as pipe:
                pipe.incr(KEY + self._output)
                pipe.expire(KEY + self._output, EXPIRY_SECONDS)
                return int(pipe.execute()[0]) - 1
        except RedisError as error:
            log.warning("start_not_counted", output=self._output, why=str(error))
            return 0

    def release(self, *, survived: bool = True) -> None:
        """Gives up the claim, if any.

        :param survived: whatever came of the work, it did this process no harm: earlier deaths
            are forgotten.
        """
        with self._lock:
            claim, self._claim = self._claim, None
            if claim is None:
                return
            try:
                if survived and self._counted:
                    self._redis.delete(KEY + self._output)
                claim.release()
            except RedisError as error:
                log.warning("claim_not_released", output=self._output, why=str(error))

    def close(self) -> None:
        self._closed.set()
        self._redis.close()

    def renew(self) -> None:
        """The claim in hand, if its task makes progress."""
        with self._lock:
            if self._claim is not None and self._idle_seconds() < HANGS_SECONDS:
                _renew_or_reclaim(self._claim, self._token)

    def _keep(self) -> None:
        while not self._closed.wait(self._silence / RENEWALS):
            self.renew()


def _renew_or_reclaim(claim: Lock, token: str) -> None:
    try:
        try:
            claim.reacquire()
        except LockError:
            # Redis was away or wiped, or this process slept: another one may have it by now.
            claim.acquire(token=token)
    except RedisError:
        return

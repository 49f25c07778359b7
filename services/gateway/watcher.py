"""Follows `live/`: loads what becomes live, flips to it, keeps corpus versions and lag fresh.

Wake-ups over Redis shorten the polling interval. Whatever fails, the old generation keeps
answering.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from realm.errors import RealmError
from realm.process.wakeup import RARER, WAKEUP_CHANNEL
from realm.records.generation import LiveEntry
from realm.records.refresh_trace import RefreshTrace
from realm.settings import Settings
from services.gateway.loading import Loader
from services.gateway.metrics import GatewayMetrics
from services.gateway.serving import Freshness, Serving, ServingSlot
from services.gateway.view import StoreView, View
from services.gateway.waiting import wait_for_event

log = structlog.get_logger(__name__)

#: Wake-ups that concern a gateway.
TOPICS = frozenset({"live", "snapshot"})
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
WAKEUP_RETRY_SECONDS = 2.0
#: How often a flip checks whether its generation has caught up with the one in use.
CATCH_UP_POLL_SECONDS = 0.1


class LiveWatcher:
    """One task that polls, and at most one that loads."""

    def __init__(
        self,
        settings: Settings,
        view: StoreView,
        slot: ServingSlot,
        loader: Loader,
        metrics: GatewayMetrics,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_leader: Callable[[str], None] = lambda address: None,
    ) -> None:
        """:param on_change: called after each poll and each flip.
        :param on_leader: called with the leading indexer's address at each poll.
        """
        self._poll_seconds = settings.gateway.live_poll_seconds
        self._retirement_seconds = settings.indexer.retirement_seconds
        self._redis_url = settings.addresses.redis_url
        self._view = view
        self._slot = slot
        self._metrics = metrics
        self._on_change = on_change
        self._on_leader = on_leader
        self._loader = loader
        self._wake = asyncio.Event()
        self._newest: LiveEntry | None = None
        self._loading: asyncio.Task[None] | None = None
        self._failures = 0
        self._failed: LiveEntry | None = None
        self._retry_at = 0.0
        #: Since when a newer generation than the one in use is known; None: none is.
        self._behind_since: float | None = None
        self._read_at = time.monotonic()
        metrics.store_age.set_function(lambda: self.store_age)
        #: The newest sequence of `live/` at the first poll; 0: there was none.
        self._first_sequence: int | None = None
        self._subscribed = True  # so that of an outage only the first failure is logged
        self._hears = False

    @property
    def ready(self) -> bool:
        """Something is served, its collection exists, and no newer one has been known for longer
        than the old one is kept. An unreadable store does not make the gateway unready."""
        if self._slot.current is None or self._slot.lost is not None:
            return False
        if self._behind_since is None:
            return True
        return time.monotonic() - self._behind_since <= self._retirement_seconds

    @property
    def store_age(self) -> float:
        """Seconds since the store was last read."""
        return time.monotonic() - self._read_at

    @property
    def _pause(self) -> float:
        """Long at rest: what is live is served, the store was just read, and wake-ups arrive."""
        served = self._slot.current is not None and self._behind_since is None
        at_rest = served and self._loading is None and self.store_age < self._poll_seconds
        return RARER * self._poll_seconds if self._hears and at_rest else self._poll_seconds

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._poll()
                self._on_change()
                await wait_for_event(self._wake, self._pause)
        finally:
            if self._loading is not None:
                self._loading.cancel()
            self._loader.close()

    async def listen_for_wakeups(self) -> None:
        """Until cancelled; a lost wake-up costs one polling interval."""
        while True:
            try:
                await self._listen_until_lost()
            except (RedisError, OSError, TimeoutError) as error:
                if self._subscribed:
                    log.warning("wakeups_unavailable", error=str(error), polling_instead=True)
                self._subscribed = self._hears = False
                await asyncio.sleep(WAKEUP_RETRY_SECONDS)

    async def _listen_until_lost(self) -> None:
        redis = Redis.from_url(self._redis_url, socket_connect_timeout=2, health_check_interval=10)
        async with redis, redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(WAKEUP_CHANNEL)
            self._subscribed = self._hears = True
            self.wake()  # for what was told before
            while True:
                message = await subscription.get_message(timeout=5.0)
                if message and message["data"].decode() in TOPICS:
                    self.wake()

    async def _read(self, wanted: set[int]) -> View:
        view = await asyncio.to_thread(self._view.read, wanted)
        self._read_at = time.monotonic()
        return view

    async def _poll(self) -> None:
        try:
            view = await self._read(self._slot.pinned_generations)
        except RealmError as error:
            log.warning("store_unreadable", error=error.message, **error.details)
            return
        except Exception as error:
            # A watcher that died would leave the gateway on one generation for ever.
            log.exception("store_unreadable", exc_info=error)
            return
        if self._first_sequence is None:
            self._first_sequence = view.entry.sequence if view.entry else 0
        self._slot.update(view.freshness)
        self._on_leader(view.leader)
        if view.unreadable is not None:
            log.warning("live_unknown", file=view.unreadable, until="the leader has mended it")
        if view.entry is None:
            return
        self._newest = view.entry
        current = self._slot.current
        if current is not None and (freshness := view.freshness.get(current.number)):
            self._metrics.show_lag(freshness.lag)
        self._set_behind(current is not None and current.number != view.entry.generation)
        if current is not None and current.entry == view.entry:
            return
        if self._loading is None and self._may_load(view.entry):
            self._loading = asyncio.create_task(self._load(view.entry), name="load generation")

    def _set_behind(self, behind: bool) -> None:
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()

    def _may_load(self, entry: LiveEntry) -> bool:
        return entry != self._failed or time.monotonic() >= self._retry_at

    async def _load(self, entry: LiveEntry) -> None:
        try:
            async with self._loader.turn:
                await self._load_and_flip(entry)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a panic of native code is no Exception
            # Whatever is wrong with the new generation, the old one keeps answering.
            self._back_off(entry, error)
        finally:
            self._loading = None
            self.wake()

    async def _load_and_flip(self, entry: LiveEntry) -> None:
        begun, begun_at = time.monotonic(), time.time()
        serving, freshness = await self._load_and_catch_up(entry)
        self._failures, self._failed = 0, None
        self._metrics.load_seconds.observe(time.monotonic() - begun)
        if self._newest is None or self._newest.sequence <= entry.sequence:
            before = self._slot.current
            self._flip(serving, freshness)
            # A new leader commits the same generation once more: that is no flip.
            if before is None or before.number != serving.number:
                self._metrics.flips.inc()
                self._trace(serving, begun_at)

    async def _load_and_catch_up(self, entry: LiveEntry) -> tuple[Serving, Freshness]:
        self._slot.drop_other()
        serving = await self._loader.load(entry, self._slot.current)
        view = await self._read({entry.generation})
        # The old one may have applied one more write since the commit: a flip must not undo it,
        # unless the old one is about to be deleted.
        give_up_at = time.monotonic() + self._retirement_seconds / 2
        while self._is_behind(view.freshness[entry.generation]):
            if view.entry is not None and view.entry.generation != entry.generation:
                break  # a newer one is live: this one is never flipped to
            if time.monotonic() > give_up_at:
                log.warning("flipped_behind", generation=entry.generation)
                break
            await asyncio.sleep(CATCH_UP_POLL_SECONDS)
            view = await self._read({entry.generation})
        self._newest = view.entry or self._newest
        return serving, view.freshness[entry.generation]

    def _is_behind(self, freshness: Freshness) -> bool:
        current = self._slot.current
        served = self._slot.freshness(current.number) if current else None
        if served is None or served.damaged:
            return False
        return freshness.corpus_version < served.corpus_version

    def _flip(self, serving: Serving, freshness: Freshness) -> None:
        before = self._slot.current
        self._slot.flip(serving, freshness)
        self._set_behind(False)
        self._metrics.serving_step.set(serving.generation.step)
        self._metrics.serving_generation.set(serving.number)
        log.info(
            "generation_flipped",
            generation=serving.number,
            before=before.number if before else None,
            snapshot=serving.generation.snapshot,
            step=serving.generation.step,
            why=serving.entry.why,
        )
        self._on_change()

    def _trace(self, serving: Serving, begun_at: float) -> None:
        """Not for what was live when the gateway started: it took no part in that refresh."""
        refreshed = serving.entry.sequence > (self._first_sequence or 0)
        if RefreshTrace.on() and refreshed and serving.generation.is_refresh:
            snapshot = self._view.snapshots.get(serving.generation.snapshot)
            RefreshTrace(snapshot).flipped(serving.number, begun_at, time.time())

    def _back_off(self, entry: LiveEntry, error: BaseException) -> None:
        if entry != self._failed:
            self._failures = 0
        pause = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**self._failures)
        self._failures += 1
        self._failed, self._retry_at = entry, time.monotonic() + pause
        self._metrics.load_failures.inc()
        log.error(
            "generation_not_loaded",
            generation=entry.generation,
            error=str(error),
            again_in_seconds=pause,
            exc_info=None if isinstance(error, RealmError) else error,
        )

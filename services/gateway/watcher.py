"""Follows `live/`: loads what became live, flips the reference, keeps versions and lag fresh.

Woken by nudges, and by itself when Redis is gone. Whatever fails, the old generation goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import structlog
import torch
from redis.asyncio import Redis
from redis.exceptions import RedisError

from realm.errors import RealmError
from realm.process.threads import lower_priority
from realm.process.wakeup import NUDGE_CHANNEL
from realm.records.damage import damaged
from realm.records.generations import Generation, Generations, LiveEntry
from realm.records.lag import lag_behind
from realm.records.leaders import Leaders
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.settings import Settings
from services.gateway.events import happens
from services.gateway.metrics import GatewayMetrics
from services.gateway.serving import Serving, ServingSlot, Standing, load_serving

log = structlog.get_logger(__name__)

#: Nudges that concern a gateway.
TOPICS = frozenset({"live", "snapshot"})
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
NUDGE_RETRY_SECONDS = 2.0
#: How often a flip looks that waits for a generation which is behind the one in use.
CATCH_UP_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class View:
    """What the store says: the newest live entry, and the standing of generations asked for."""

    entry: LiveEntry | None
    standings: dict[int, Standing]
    #: Where the leading indexer says that it is; empty if it does not.
    leader: str


def look(store: Store, held: set[int], generations: Generations, snapshots: Snapshots) -> View:
    """Reads the store; `held` are generations whose standing is wanted beside the live one's."""
    entry = generations.live()
    published = snapshots.all()
    wanted = held | ({entry.generation} if entry else set())
    newest = Leaders(store).newest()
    lost = damaged(store)
    known = [found for each in wanted if (found := generations.find(each)) is not None]
    standings = {
        each.number: _standing(generations, published, each, each.number in lost) for each in known
    }
    return View(entry, standings, newest.address if newest else "")


def _standing(
    generations: Generations, published: list[Snapshot], generation: Generation, lost: bool
) -> Standing:
    lag = lag_behind(published, generation.snapshot, generation.step)
    return Standing(
        corpus_version=generations.applied(generation.number),
        damaged=lost,
        lag=lag,
    )


class LiveWatcher:
    """One task that looks, one at a time that loads."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        slot: ServingSlot,
        metrics: GatewayMetrics,
        *,
        device: torch.device,
        dtype: torch.dtype,
        on_change: Callable[[], None] = lambda: None,
        on_leader: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._generations = Generations(store)
        self._snapshots = Snapshots(store)
        self._slot = slot
        self._metrics = metrics
        self._device = device
        self._dtype = dtype
        self._on_change = on_change
        self._on_leader = on_leader
        self._loader = ThreadPoolExecutor(1, "load", initializer=lower_priority)
        self._wake = asyncio.Event()
        self._newest: LiveEntry | None = None
        self._loading: asyncio.Task[None] | None = None
        self._failures = 0
        self._failed: LiveEntry | None = None
        self._retry_at = 0.0
        #: Since when a newer generation than the one in use is known; None: none is.
        self._behind_since: float | None = None
        self._seen_at = time.monotonic()
        metrics.store_age.set_function(lambda: self.store_age)
        #: The newest entry of `live/` at the first look; 0: there was none.
        self._met: int | None = None
        self._nudged = True  # so that the first failure is logged, and of an outage only that

    @property
    def ready(self) -> bool:
        """Something is served, its collection is there, and no newer one is known for longer than
        it is kept. A store that cannot be read takes nothing away: it only makes that older."""
        if self._slot.current is None or self._slot.lost is not None:
            return False
        if self._behind_since is None:
            return True
        return time.monotonic() - self._behind_since <= self._settings.indexer.retirement_seconds

    @property
    def store_age(self) -> float:
        """Seconds since the store was last read."""
        return time.monotonic() - self._seen_at

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._look()
                self._on_change()
                await happens(self._wake, self._settings.gateway.live_poll_seconds)
        finally:
            if self._loading is not None:
                self._loading.cancel()
            self._loader.shutdown(wait=False, cancel_futures=True)

    async def listen(self) -> None:
        """Takes nudges as long as Redis gives any; losing one costs a poll interval."""
        while True:
            try:
                await self._listen_once()
            except (RedisError, OSError, TimeoutError) as error:
                if self._nudged:
                    log.warning("nudges_unavailable", error=str(error), polling_instead=True)
                self._nudged = False
                await asyncio.sleep(NUDGE_RETRY_SECONDS)

    async def _listen_once(self) -> None:
        redis = Redis.from_url(
            self._settings.addresses.redis_url, socket_connect_timeout=2, health_check_interval=10
        )
        async with redis, redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(NUDGE_CHANNEL)
            self._nudged = True
            while True:
                message = await subscription.get_message(timeout=5.0)
                if message and message["data"].decode() in TOPICS:
                    self.wake()

    async def _look(self) -> None:
        held = self._slot.held_generations
        try:
            view = await self._view(held)
        except RealmError as error:
            log.warning("store_unreadable", error=error.message, **error.details)
            return
        except Exception as error:
            # A watcher that died would leave the gateway on one generation for ever.
            log.exception("store_not_understood", exc_info=error)
            return
        self._seen_at = time.monotonic()
        if self._met is None:
            self._met = view.entry.sequence if view.entry else 0
        self._slot.update(view.standings)
        self._on_leader(view.leader)
        if view.entry is None:
            return
        self._newest = view.entry
        current = self._slot.current
        if current is not None and (standing := view.standings.get(current.number)):
            self._metrics.show_lag(standing.lag)
        self._note_behind(current is not None and current.number != view.entry.generation)
        if current is not None and current.entry == view.entry:
            return
        if self._loading is None and self._may_load(view.entry):
            self._loading = asyncio.create_task(self._load(view.entry), name="load generation")

    def _note_behind(self, behind: bool) -> None:
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()

    async def _view(self, held: set[int]) -> View:
        return await asyncio.to_thread(look, self._store, held, self._generations, self._snapshots)

    def _may_load(self, entry: LiveEntry) -> bool:
        return entry != self._failed or time.monotonic() >= self._retry_at

    async def _load(self, entry: LiveEntry) -> None:
        begun, begun_at = time.monotonic(), time.time()
        try:
            serving, standing = await self._made(entry)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a panic of native code is no Exception
            # Whatever is wrong with the new generation, the old one goes on answering.
            self._back_off(entry, error)
        else:
            self._failures, self._failed = 0, None
            self._metrics.load_seconds.observe(time.monotonic() - begun)
            if self._newest is None or self._newest.sequence <= entry.sequence:
                before = self._slot.current
                self._flip(serving, standing)
                # A leader that took over names the same generation once more: no flip.
                if before is None or before.number != serving.number:
                    self._metrics.flips.inc()
                    self._trace(serving, begun_at)
        finally:
            self._loading = None
            self.wake()

    async def _made(self, entry: LiveEntry) -> tuple[Serving, Standing]:
        serving = await asyncio.get_running_loop().run_in_executor(
            self._loader, self._serving, entry, self._slot.current
        )
        view = await self._view({entry.generation})
        # The old one may have taken a write more since the commit: nobody is to see it vanish,
        # unless the old one itself is about to.
        patient_until = time.monotonic() + self._settings.indexer.retirement_seconds / 2
        while self._is_behind(view.standings[entry.generation]):
            if view.entry is not None and view.entry.generation != entry.generation:
                break  # a newer one is live: this one is never flipped to
            if time.monotonic() > patient_until:
                log.warning("flipped_behind", generation=entry.generation)
                break
            await asyncio.sleep(CATCH_UP_POLL_SECONDS)
            view = await self._view({entry.generation})
        self._newest = view.entry or self._newest
        return serving, view.standings[entry.generation]

    def _is_behind(self, standing: Standing) -> bool:
        current = self._slot.current
        held = self._slot.standing(current.number) if current else None
        return (
            held is not None and not held.damaged and standing.corpus_version < held.corpus_version
        )

    def _serving(self, entry: LiveEntry, current: Serving | None) -> Serving:
        """Models are loaded only for another snapshot than the one in memory."""
        generation = self._generations.get(entry.generation)
        if current is not None and current.generation.snapshot == generation.snapshot:
            return replace(current, entry=entry, generation=generation)
        snapshot = self._snapshots.get(generation.snapshot)
        return load_serving(
            self._snapshots,
            snapshot,
            generation,
            entry,
            device=self._device,
            dtype=self._dtype,
            before=current,
        )

    def _flip(self, serving: Serving, standing: Standing) -> None:
        before = self._slot.current
        self._slot.flip(serving, standing)
        self._note_behind(False)
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
        """A gateway that starts later takes no part in the refresh."""
        if RefreshTrace.on() and serving.entry.sequence > (self._met or 0):
            snapshot = self._snapshots.get(serving.generation.snapshot)
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

"""Gets a term and keeps it. One thread watches the leader, claims the next term, then beats in the
store; another beats in Redis.

The store decides who leads. Redis carries a second beat that needs no call to the store, so that
a slow store alone deposes nobody; a wiped or absent Redis makes nobody lead. A stopped process
beats in neither. A leader that can no longer beat in the store falls silent in Redis too,
`PATIENT_LEASES` after its last beat there: a standby that can write then leads a lease later, at
most five leases after that beat. The patience is safe: a leader that the store does not confirm
may act for half a lease, and the store fences what it does then.

A leader that lost ends its process and restarts as a standby: its memory need not be corrected.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from realm.errors import Conflict, DependencyUnavailable, NotReady, RealmError
from realm.process.identity import process_has_ended, process_identity
from realm.process.threads import VitalThread
from realm.records.leaders import Leaders, Term
from realm.records.store import Store
from realm.settings import Settings
from services.indexer.leader.candidacy import (
    LeaderSigns,
    StandbyWatch,
    Tenure,
    counts_until,
    floor_of,
    may_claim,
    watch,
)

LEASE_KEY = "realm:leader"
BEATS_PER_LEASE = 4
#: A leader that could not beat in the store for so many leases falls silent in Redis too.
PATIENT_LEASES = 4
REDIS_SECONDS = 0.5

log = structlog.get_logger(__name__)


def boot_clock() -> float:
    """Seconds, including those that the machine was suspended. `time.monotonic` omits them: a
    leader would trust a confirmation from before the sleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leadership(Protocol):
    """What the indexer's parts ask of an election."""

    @property
    def term(self) -> int: ...

    @property
    def floor(self) -> int: ...

    def check(self) -> None:
        """:raises NotReady: if this process does not lead."""

    def changed(self, collection: str) -> None:
        """After a change in Qdrant.

        :raises NotReady: if this process leads no more.
        """


class AlwaysLeader:
    """Always leads: for a single indexer without an election, as in tests."""

    term = 0
    floor = 0

    def check(self) -> None:
        return

    def changed(self, collection: str) -> None:
        return


class Election:
    """Call `tick` once, then `start`; `leads` and `lost` tell where it stands."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], float] = boot_clock,
        has_ended: Callable[[str], bool] = process_has_ended,
    ) -> None:
        """:param has_ended: whether the process of an identity has certainly ended."""
        self._clock = clock
        self._has_ended = has_ended
        self._leaders = Leaders(store)
        self._lease = settings.indexer.lease_seconds
        self._address = advertised_address(settings)
        self.by = process_identity()
        self._redis = Redis.from_url(
            settings.addresses.redis_url,
            socket_connect_timeout=REDIS_SECONDS,
            socket_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._watch: StandbyWatch | None = None
        self._tenure: Tenure | None = None
        self._newest: Term | None = None
        self._beats = 0
        self._beaten_at = 0.0
        self._answer_counts_until = 0.0
        #: Collections changed while the store could not say whether this process still led.
        self._doubtful: set[str] = set()
        self._lost = threading.Event()
        self._stopping = threading.Event()
        self._threads = [
            VitalThread("election", self._run),
            VitalThread("beat in Redis", self._run_beat),
        ]

    @property
    def leads(self) -> bool:
        return self._tenure is not None and not self._lost.is_set()

    @property
    def lost(self) -> bool:
        """It led once, and another one does now."""
        return self._lost.is_set()

    @property
    def term(self) -> int:
        return self._tenure.term if self._tenure else 0

    @property
    def floor(self) -> int:
        return self._tenure.floor if self._tenure else 0

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, *, resign: bool) -> None:
        """Ends the threads. `resign` only if none of this leader's work is still running."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._lease)
        if resign and self._tenure is not None and not self._lost.is_set():
            self._lost.set()
            try:
                self._leaders.end(self._tenure.term)
            except RealmError as error:
                log.warning("resignation_failed", why=str(error))
        self._redis.close()

    def check(self) -> None:
        """Asks the store if it was last asked more than half a lease ago, and its answer counts no
        more.

        :raises NotReady: naming the leader, if this process does not lead.
        :raises DependencyUnavailable: if the store cannot say.
        """
        tenure = self._tenure
        if tenure is None or self._lost.is_set():
            raise self.not_leader()
        now = self._clock()
        if not tenure.is_trusted(now, self._lease) and now >= self._answer_counts_until:
            self._confirm(tenure)

    def changed(self, collection: str) -> None:
        """Records a change that came after the term had ended, as after a sleep: nothing could
        stop it, but the new leader replaces the collection.

        :raises NotReady, DependencyUnavailable: as `check`.
        """
        tenure = self._tenure
        if tenure is None or (self.leads and tenure.is_trusted(self._clock(), self._lease)):
            return
        try:
            self._confirm(tenure, collection)
        except DependencyUnavailable:
            self._doubtful.add(collection)
            raise

    def tick(self) -> None:
        """A standby's look at the leader, or a leader's beat.

        :raises DependencyUnavailable: if the store cannot be reached.
        """
        if self._tenure is None:
            self._campaign()
        elif not self._lost.is_set():
            before, doubtful = self._clock(), set(self._doubtful)
            self._confirm_record(self._tenure)
            self._doubtful -= doubtful
            self._beat(before)

    def not_leader(self) -> NotReady:
        """The error of a call that needs the leader."""
        newest = self._newest
        if newest is None:
            return NotReady("this indexer does not lead: no leader elected yet", leader="")
        return NotReady(
            f"this indexer does not lead: call {newest.address or newest.by}, which leads term"
            f" {newest.number}",
            leader=newest.address,
        )

    def _run(self) -> None:
        while not self._stopping.wait(self._lease / BEATS_PER_LEASE):
            if not self.look():
                return

    def look(self) -> bool:
        """As `tick`; False once leadership is lost. A failure is logged."""
        try:
            self.tick()
        except NotReady as error:
            log.error("leadership_lost", why=str(error))
            return False
        except RealmError as error:
            log.warning("leader_unknown", why=str(error))
        return True

    def _run_beat(self) -> None:
        while not self._stopping.wait(self._lease / BEATS_PER_LEASE):
            self.beat_in_redis()

    def _campaign(self) -> None:
        self._newest, resigned = self._leaders.look()
        signs = self._signs(self._newest, resigned)
        self._watch = watch(self._watch, signs, self._clock(), self._lease)
        if not may_claim(self._watch, self._lease):
            return
        number = signs.term + 1
        floor = floor_of(signs, self._newest.floor if self._newest else 0, number)
        before = self._clock()
        claimed = Term(number, self.by, self._address, time.time(), floor)
        try:
            self._leaders.claim(claimed)
        except Conflict:
            return
        self._newest = claimed
        self._tenure = Tenure(number, floor, before)
        log.info("leads", term=number, continues_builds=floor != number, address=self._address)
        self._beat(before)
        self.beat_in_redis()
        self._leaders.forget_old()

    def _signs(self, term: Term | None, resigned: bool) -> LeaderSigns:
        if term is None:
            return LeaderSigns()
        return LeaderSigns(
            term=term.number,
            ended=resigned or self._has_ended(term.by),
            resigned=resigned,
            store_beat=self._leaders.last_beat(term.number),
            redis_beat=self._heard_in_redis(term.number),
        )

    def _confirm(self, tenure: Tenure, *changed: str) -> None:
        """By one list where no other term was claimed: a slow store is asked before each change.

        :param changed: collections changed just now.
        :raises NotReady: as `_confirm_record`.
        """
        asked = self._clock()
        if self._lost.is_set() or self._leaders.newest_number() != tenure.term:
            self._confirm_record(tenure, *changed)
        self._answer_counts_until = counts_until(asked, self._clock(), self._lease)

    def _confirm_record(self, tenure: Tenure, *changed: str) -> None:
        """Also puts the record of its own term again if that is damaged or lost.

        :param changed: as of `_confirm`.
        :raises NotReady: if the store names a later term, or somebody else for this one.
        """
        claimed, number = self._newest, self._leaders.newest_number()
        found = self._leaders.record(number) if number >= tenure.term else None
        if claimed is None or self._lost.is_set():
            raise self.not_leader()
        if found is None or (number == tenure.term and not found.by):
            self._leaders.mend(claimed)
        elif number > tenure.term or found.by != self.by:
            self._newest = found
            self._lost.set()
            for collection in self._doubtful.union(changed):
                log.error("stale_write", collection=collection, term=tenure.term)
                self._leaders.record_stale_write(tenure.term, collection)
            raise self.not_leader()

    def _beat(self, confirmed_at: float) -> None:
        """Only a beat renews trust: a leader that nobody hears is not trusted."""
        self._beats += 1
        self._leaders.beat(self.term, self._beats)
        self._beaten_at = self._clock()
        self._tenure = Tenure(self.term, self.floor, confirmed_at)

    def beat_in_redis(self) -> None:
        """A leader's, as long as its beats in the store come through."""
        if not self.leads or self._clock() - self._beaten_at > PATIENT_LEASES * self._lease:
            return
        lease = {"term": self.term, "by": self.by, "address": self._address, "beat": self._clock()}
        try:
            self._redis.set(LEASE_KEY, json.dumps(lease), px=int(self._lease * 1000))
        except RedisError:
            return

    def _heard_in_redis(self, term: int) -> str:
        try:
            found = json.loads(self._redis.get(LEASE_KEY) or b"{}")
        except (RedisError, ValueError):
            return ""
        if not isinstance(found, dict) or found.get("term") != term:
            return ""
        return str(found.get("beat"))


def advertised_address(settings: Settings) -> str:
    """Where gateways reach this indexer: `host:port`; empty if not set."""
    given = settings.addresses.indexer_advertise
    if not given or ":" in given:
        return given
    return f"{given}:{settings.addresses.indexer_listen.rpartition(':')[2]}"

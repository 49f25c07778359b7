"""One of three real Qdrant peers is away, frozen, cut off, full, or has lost its volume, one after
the other, while users search, ask and write and an index is replaced: none of them may notice.

Needs Qdrant's server (`REALM_TEST_QDRANT_PROGRAM`) and toxiproxy (`make chaos-tools`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import structlog

from bench import tiny
from bench.apparatus.peers import ON_SMALL_DISK, Peers
from bench.claims import Result, at_least, at_most, none
from bench.harness import Bench, Context
from bench.history.events import Kind
from bench.history.history import Operation
from bench.load.schedule import schedule
from bench.load.session import QUICK_REFRESHES, LoadProfile, LoadSession, Observations, load_session
from bench.load.transitions import Change, Transition, TransitionWatch
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads
from realm.process.wakeup import Wakeup
from realm.records.generations import Generations
from realm.records.states import State

PROFILE = LoadProfile(
    rates={Kind.SEARCH: 6.0, Kind.ANSWER: 1.0, Kind.UPSERT: 1.5, Kind.DELETE: 0.5},
    audit_every=4,
    settings={**QUICK_REFRESHES, "REALM_GATE_TOLERANCE": "0.1"},
)
DOCUMENTS = 400
#: A refresh begins so long after its fault, and is to be live before the fault is over.
BEFORE_REFRESH_SECONDS = 3.0
REFRESH_SECONDS = 90.0
#: Until all peers hold all again.
WHOLE_SECONDS = 120.0
POLL_SECONDS = 0.5
ACTIVE = "Active"
LONGEST_SECONDS = 3600.0
#: For so long may requests fail because of one peer.
MOST_FAILING_SECONDS = 2.0
LEAST_AUDITED = 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parameters:
    """`seconds` is how long each fault lasts."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls a peer, and what ends it, of itself or by the command that the alert names."""

    name: str
    begin: Callable[[Peers], object]
    end: Callable[[Peers], object] = lambda _: None


FAULTS = (
    Fault("killed", lambda peers: peers.kill(1), lambda peers: peers.start_again(1)),
    Fault("frozen", lambda peers: peers.freeze(0), lambda peers: peers.thaw(0)),
    Fault(
        "cut off from its clients",
        lambda peers: peers.cut_off_from_clients(0),
        lambda peers: peers.heal(0),
    ),
    Fault(
        "cut off from the other peers",
        lambda peers: peers.cut_off_from_peers(1),
        lambda peers: peers.heal(1),
    ),
    Fault("disk full", lambda peers: peers.fill_disk(), lambda peers: peers.empty_disk()),
    Fault("volume lost", lambda peers: peers.lose_volume(1)),
    Fault("founder's volume lost", lambda peers: peers.lose_volume(0)),
)


@dataclass(frozen=True, slots=True)
class Passed:
    """A fault that is over. Times are Unix times; `whole` is the time when all peers held all
    again, None if that was not in time; `restarted`: its consensus had ended."""

    name: str
    began: float
    ended: float
    whole: float | None
    restarted: bool
    refresh: Transition

    @property
    def refreshed_meanwhile(self) -> bool:
        return self.refresh.state is State.LIVE and self.refresh.ended <= self.ended


class Injector:
    """Injects one fault after another, with a refresh in each; `passed` holds all."""

    def __init__(self, peers: Peers, session: LoadSession, model: Model, seconds: float) -> None:
        self.passed: list[Passed] = []
        self._peers = peers
        self._cluster = session.cluster
        self._seed = session.seed
        self._model = model
        self._seconds = seconds
        self._refreshes = TransitionWatch(session.cluster, REFRESH_SECONDS)

    async def run(self) -> None:
        await self._await_whole()
        for number, fault in enumerate(FAULTS, start=1):
            log.info("fault", name=fault.name)
            self.passed.append(await self._pass(number, fault))
            log.info("fault_passed", name=fault.name, whole=bool(self.passed[-1].whole))

    async def _pass(self, number: int, fault: Fault) -> Passed:
        began = time.time()
        await asyncio.to_thread(fault.begin, self._peers)
        await asyncio.sleep(BEFORE_REFRESH_SECONDS)
        refreshing = asyncio.create_task(self._refresh(number))
        await asyncio.sleep(max(0.0, began + self._seconds - time.time()))
        await asyncio.to_thread(fault.end, self._peers)
        ended = time.time()
        restarted = await asyncio.to_thread(self._peers.restart_if_dead, ON_SMALL_DISK)
        whole = await self._await_whole()
        return Passed(fault.name, began, ended, whole, restarted, await refreshing)

    async def _refresh(self, number: int) -> Transition:
        cluster = self._cluster
        model = tiny.perturbed(self._model, self._seed * 10_000 + number)
        snapshot = await asyncio.to_thread(publish_model, cluster.snapshots, model, step=number)
        with closing(Wakeup(cluster.redis_url)) as wakeup:
            wakeup.send("snapshot")
        since = snapshot.created_at
        return await self._refreshes.watch(Change.REFRESH, snapshot.number, since, since)

    async def _await_whole(self) -> float | None:
        deadline = time.monotonic() + WHOLE_SECONDS
        while time.monotonic() < deadline:
            if await asyncio.to_thread(self._is_whole):
                return time.time()
            await asyncio.sleep(POLL_SECONDS)
        return None

    def _is_whole(self) -> bool:
        """Whether every peer has a whole copy of all that is served, all of them alike."""
        generations = Generations(self._cluster.store)
        for number in generations.served():
            copies = self._peers.copies(generations.get(number).collection)
            if any(each is None or each["state"] != ACTIVE for each in copies):
                return False
            if len({each["points_count"] for each in copies if each}) != 1:
                return False
        return True


@dataclass(frozen=True, slots=True)
class PeersRun:
    seen: Observations
    passed: Sequence[Passed]


def observe(parameters: Parameters, context: Context) -> PeersRun:
    set_threads(1)
    model = tiny.tiny_model(context.seed)
    with (
        Peers(context.folder / "peers") as peers,
        load_session(
            context,
            PROFILE,
            DOCUMENTS,
            tiny.writer(model, context.seed),
            lambda cluster: publish_model(cluster.snapshots, model, step=0),
            qdrant=peers.url,
        ) as session,
    ):
        injector = Injector(peers, session, model, parameters.seconds)
        return PeersRun(asyncio.run(_observe(session, injector)), injector.passed)


async def _observe(session: LoadSession, injector: Injector) -> Observations:
    over = asyncio.Event()

    async def inject(_: asyncio.Event) -> bool:
        try:
            await injector.run()
        finally:
            over.set()
        return True

    due = schedule(PROFILE.rates, LONGEST_SECONDS)
    return await session.observe(takewhile(lambda _: not over.is_set(), due), inject)


def judge(parameters: Parameters, run: PeersRun) -> Result:
    seen = run.seen
    late = [each for each in run.passed if not each.refreshed_meanwhile]
    claims = [
        at_least("faults", len(run.passed), len(FAULTS)),
        *seen.claims(LEAST_AUDITED),
        at_most(
            "seconds for which requests failed, at the longest",
            longest_failing(seen.operations),
            MOST_FAILING_SECONDS,
        ),
        none("faults in which no refresh went live", len(late)),
        none("faults after which a peer lacked something", sum(not e.whole for e in run.passed)),
        none("processes that died", sum(seen.restarts.values())),
    ]
    figures = seen.figures() | {"faults": {each.name: _told(each, seen) for each in run.passed}}
    return Result(figures, claims)


def _told(each: Passed, seen: Observations) -> dict[str, Any]:
    until = each.whole or each.ended + WHOLE_SECONDS
    meanwhile = [op for op in seen.operations if each.began <= op.began <= until]
    refresh = each.refresh
    return {
        "seconds": round(each.ended - each.began, 1),
        "requests": len(meanwhile),
        "failed": sum(not op.ok for op in meanwhile),
        "slowest_seconds": round(max((op.latency for op in meanwhile if op.ok), default=0.0), 2),
        "refresh": f"{refresh.state} after {refresh.ended - refresh.began:.1f} s {refresh.why}",
        "restarted_by_hand": each.restarted,
        "whole_after_seconds": each.whole and round(each.whole - each.ended, 1),
    }


def longest_failing(operations: Sequence[Operation]) -> float:
    """Seconds from when a request was sent that failed until the last that failed had ended, with
    none between them that succeeded; the most there was."""
    longest, since = 0.0, None
    for each in sorted(operations, key=lambda one: one.done):
        if each.ok:
            since = None
        else:
            since = each.began if since is None else min(since, each.began)
            longest = max(longest, each.done - since)
    return longest


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(seconds=60.0),
    quick=Parameters(seconds=12.0),
    observe=observe,
    judge=judge,
    options={"seconds": "of each fault"},
)

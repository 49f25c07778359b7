"""The fault injector: random faults at random times, and kills aimed at phases not yet hit."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterable

import structlog

from bench.chaos.faults import Done, Hands, Kind, Plan, embedding, phase_of
from bench.cluster import BenchCluster
from realm.errors import RealmError
from realm.records.generations import Generations
from realm.records.leaders import Leaders
from realm.records.snapshots import Snapshots

PHASES = ("embed", "load", "validate", "flip", "rest")
AIM_LOOK_SECONDS = 0.01

log = structlog.get_logger(__name__)


class Chaos:
    """Does what was planned; `done` says what came of it."""

    def __init__(
        self,
        cluster: BenchCluster,
        seed: int,
        aim_seconds: float,
        slowest_gateway: Callable[[], int],
    ) -> None:
        """:param aim_seconds: how long a kill waits for a phase that none has hit yet."""
        self.done: list[Done] = []
        self._cluster = cluster
        self._hands = Hands(cluster)
        self._rng = random.Random(seed)
        self._aim = aim_seconds
        self._generations = Generations(cluster.store)
        self._snapshots = Snapshots(cluster.store)
        self._slowest = slowest_gateway
        self._stopped: dict[str, asyncio.Task[None]] = {}

    async def run(self, plans: Iterable[Plan]) -> None:
        began = time.time()
        for each in plans:
            await asyncio.sleep(max(0.0, began + each.at - time.time()))
            try:
                await self._perform(each)
            except RealmError as error:
                # A file vanished between two looks at the store.
                log.warning("fault_failed", kind=each.kind, why=str(error))
        await self.end()

    async def end(self) -> None:
        """Wakes whoever still sleeps."""
        for task in list(self._stopped.values()):
            task.cancel()
        await asyncio.gather(*self._stopped.values(), return_exceptions=True)

    async def _perform(self, each: Plan) -> None:
        match each.kind:
            case Kind.KILL:
                await self._kill(each)
            case Kind.STOP:
                await self._stop(each)
            case Kind.RESTART_QDRANT:
                await self._at_once(each.kind, self._restart_qdrant)
            case Kind.WIPE_REDIS:
                await self._at_once(each.kind, self._hands.wipe_redis)
            case Kind.CORRUPT:
                await self._at_once(each.kind, lambda: self._hands.corrupt(each.draw))
            case Kind.DELETE:
                await self._at_once(each.kind, lambda: self._hands.delete(each.draw))
            case Kind.LOSE_COLLECTION | Kind.LOSE_POINTS:
                points = each.kind is Kind.LOSE_POINTS
                await self._at_once(each.kind, lambda: self._hands.lose(each.draw, points=points))

    async def _at_once(self, kind: Kind, act: Callable[[], str]) -> None:
        phase = await asyncio.to_thread(self._phase)
        began = time.time()
        if target := await asyncio.to_thread(act):
            self._note(Done(kind, target, began, time.time(), phase))

    async def _kill(self, each: Plan) -> None:
        """A random process; or, while a phase was never hit, whoever is at work in it."""
        wanted = [phase for phase in PHASES if phase not in self.phases_hit()]
        aim = wanted[int(each.draw * len(wanted))] if wanted else ""
        phase = await asyncio.to_thread(self._await_phase, aim) if aim else ""
        if phase != aim or not aim:
            phase = await asyncio.to_thread(self._phase)
            aim = ""
        name = self._culprit(aim) or self._rng.choice(self._hands.names())
        if self._hands.signal(name, signal.SIGKILL):
            self._note(Done(Kind.KILL, name, time.time(), time.time(), phase))

    def phases_hit(self) -> set[str]:
        return {each.phase for each in self.done if each.kind is Kind.KILL}

    def _culprit(self, phase: str) -> str:
        if phase == "embed":
            return "embedder"
        if phase == "flip":
            return self._rng.choice(self._cluster.cluster.gateway_names)
        return self._leader() if phase in ("load", "validate") else ""

    def _leader(self) -> str:
        term = Leaders(self._cluster.store).newest()
        names = self._cluster.cluster.indexer_names
        return next((n for n in names if term and self._address(n) == term.address), names[0])

    def _address(self, name: str) -> str:
        return self._cluster.cluster.address(name)

    def _restart_qdrant(self) -> str:
        return "qdrant" if self._hands.signal("qdrant", signal.SIGTERM) else ""

    async def _stop(self, each: Plan) -> None:
        names = [name for name in self._hands.names() if name not in self._stopped]
        name = names[int(each.draw * len(names))]
        phase = await asyncio.to_thread(self._phase)
        if self._hands.signal(name, signal.SIGSTOP):
            self._stopped[name] = asyncio.create_task(self._wake(name, each.seconds, phase))

    async def _wake(self, name: str, seconds: float, phase: str) -> None:
        began = time.time()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._hands.signal(name, signal.SIGCONT)
            self._stopped.pop(name, None)
            self._note(Done(Kind.STOP, name, began, time.time(), phase))

    def _await_phase(self, wanted: str) -> str:
        deadline = time.monotonic() + self._aim
        while (phase := self._phase()) != wanted and time.monotonic() < deadline:
            time.sleep(AIM_LOOK_SECONDS)
        return phase

    def _phase(self) -> str:
        phase = phase_of(self._generations, self._slowest())
        if phase == "build":
            missing = embedding(self._cluster, self._generations, self._snapshots)
            return "embed" if missing else "load"
        return phase

    def _note(self, done: Done) -> None:
        self.done.append(done)
        log.info("fault", kind=str(done.kind), target=done.target, phase=done.phase)

"""The fault injector: random faults at random times, with kills aimed at phases not yet hit."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterable

import structlog

from bench.chaos.faults import Fault, FaultActions, Kind, PlannedFault, embedding, phase_of
from bench.cluster import BenchCluster
from realm.errors import RealmError
from realm.records.generations import Generations
from realm.records.leaders import Leaders
from realm.records.snapshots import Snapshots

PHASES = ("embed", "load", "validate", "flip", "rest")
AIM_POLL_SECONDS = 0.01

log = structlog.get_logger(__name__)


class FaultInjector:
    """Injects planned faults and notes those that hit something in `faults`."""

    def __init__(
        self,
        cluster: BenchCluster,
        seed: int,
        aim_seconds: float,
        oldest_answering: Callable[[], int],
        faults: list[Fault],
    ) -> None:
        """:param aim_seconds: how long a kill waits for a phase that none has hit yet.
        :param oldest_answering: the oldest generation that a gateway last answered with.
        """
        self._cluster = cluster
        self._actions = FaultActions(cluster)
        self._rng = random.Random(seed)
        self._aim = aim_seconds
        self._generations = Generations(cluster.store)
        self._snapshots = Snapshots(cluster.store)
        self._oldest_answering = oldest_answering
        self._faults = faults
        self._stopped: dict[str, asyncio.Task[None]] = {}

    async def run(self, planned: Iterable[PlannedFault]) -> None:
        began = time.time()
        for each in planned:
            await asyncio.sleep(max(0.0, began + each.at - time.time()))
            try:
                await self._inject(each)
            except RealmError as error:
                # A file vanished between two reads of the store.
                log.warning("fault_failed", kind=each.kind, why=str(error))
        await self.end()

    async def end(self) -> None:
        """Continues what is still stopped."""
        for task in list(self._stopped.values()):
            task.cancel()
        await asyncio.gather(*self._stopped.values(), return_exceptions=True)

    async def _inject(self, each: PlannedFault) -> None:
        actions, draw = self._actions, each.draw
        match each.kind:
            case Kind.KILL:
                await self._kill(draw)
            case Kind.STOP:
                await self._stop(each)
            case Kind.RESTART_QDRANT:
                await self._act(each.kind, self._restart_qdrant)
            case Kind.WIPE_REDIS:
                await self._act(each.kind, actions.wipe_redis)
            case Kind.CORRUPT:
                await self._act(each.kind, lambda: actions.corrupt(draw))
            case Kind.DELETE:
                await self._act(each.kind, lambda: actions.delete(draw))
            case Kind.LOSE_COLLECTION | Kind.LOSE_POINTS:
                points = each.kind is Kind.LOSE_POINTS
                await self._act(each.kind, lambda: actions.lose(draw, points=points))

    async def _act(self, kind: Kind, act: Callable[[], str]) -> None:
        phase = await asyncio.to_thread(self._phase)
        began = time.time()
        if target := await asyncio.to_thread(act):
            self._note(Fault(kind, target, began, time.time(), phase))

    async def _kill(self, draw: float) -> None:
        """A random process; or, while a phase was never hit, the process at work in it."""
        hit = {each.phase for each in self._faults if each.kind is Kind.KILL}
        wanted = [phase for phase in PHASES if phase not in hit]
        aim = wanted[int(draw * len(wanted))] if wanted else ""
        phase = await asyncio.to_thread(self._await_phase, aim) if aim else ""
        if phase != aim or not aim:
            phase = await asyncio.to_thread(self._phase)
            aim = ""
        name = self._worker_of(aim) or self._rng.choice(self._actions.names())
        if self._actions.signal(name, signal.SIGKILL):
            self._note(Fault(Kind.KILL, name, time.time(), time.time(), phase))

    def _worker_of(self, phase: str) -> str:
        cluster = self._cluster.cluster
        if phase == "embed":
            return "embedder"
        if phase == "flip":
            return self._rng.choice(cluster.gateway_names)
        if phase not in ("load", "validate"):
            return ""
        term, names = Leaders(self._cluster.store).newest(), cluster.indexer_names
        leads = (name for name in names if term and cluster.address(name) == term.address)
        return next(leads, names[0])

    def _restart_qdrant(self) -> str:
        return "qdrant" if self._actions.signal("qdrant", signal.SIGTERM) else ""

    async def _stop(self, each: PlannedFault) -> None:
        names = [name for name in self._actions.names() if name not in self._stopped]
        name = names[int(each.draw * len(names))]
        phase = await asyncio.to_thread(self._phase)
        if self._actions.signal(name, signal.SIGSTOP):
            self._stopped[name] = asyncio.create_task(self._continue(name, each.seconds, phase))

    async def _continue(self, name: str, seconds: float, phase: str) -> None:
        began = time.time()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._actions.signal(name, signal.SIGCONT)
            self._stopped.pop(name, None)
            self._note(Fault(Kind.STOP, name, began, time.time(), phase))

    def _await_phase(self, wanted: str) -> str:
        deadline = time.monotonic() + self._aim
        while (phase := self._phase()) != wanted and time.monotonic() < deadline:
            time.sleep(AIM_POLL_SECONDS)
        return phase

    def _phase(self) -> str:
        phase = phase_of(self._generations, self._oldest_answering())
        if phase == "build":
            missing = embedding(self._cluster, self._generations, self._snapshots)
            return "embed" if missing else "load"
        return phase

    def _note(self, fault: Fault) -> None:
        self._faults.append(fault)
        log.info("fault", kind=str(fault.kind), target=fault.target, phase=fault.phase)

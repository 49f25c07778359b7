"""Carries out planned faults, whatever their kinds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.chaos.faults.kinds import Fault, FaultKind, LastingFault
from bench.chaos.phases import REST
from bench.chaos.scene import Scene
from bench.chaos.schedule import PlannedFault
from realm.errors import RealmError

#: The longest that the end of a fault is tried.
END_SECONDS = 180.0

log = structlog.get_logger(__name__)


class FaultInjector:
    """Notes in `scene.faults` what hit something. What found no target is tried again before each
    later fault."""

    def __init__(self, scene: Scene, kinds: Mapping[str, type[FaultKind]]) -> None:
        self._scene = scene
        self._kinds = {name: kind(scene) for name, kind in kinds.items()}
        self._lasting: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()

    async def run(self, planned: Iterable[PlannedFault]) -> None:
        began = time.time()
        missed: list[PlannedFault] = []
        for each in planned:
            await asyncio.sleep(max(0.0, began + each.at - time.time()))
            missed = [again for again in [each, *missed] if not await self._inject(again)]
        await self.end()

    async def end(self) -> None:
        """Ends what still lasts.

        :raises RealmError: if a fault could not be ended.
        """
        self._ending.set()
        await asyncio.gather(*self._lasting)

    async def _inject(self, each: PlannedFault) -> bool:
        """Whether it hit something."""
        kind, rng = self._kinds[each.kind], random.Random(each.draw)
        try:
            if not (target := await asyncio.to_thread(kind.choose, rng)):
                return False
            phase = "" if kind.aims_at_a_phase else await asyncio.to_thread(self._scene.phase)
            began = time.time()
            effects = await asyncio.to_thread(kind.begin, target, rng)
            ended = time.time()
        except RealmError as error:
            # A file vanished between two reads of the store, or the store is away.
            log.warning("fault_failed", kind=each.kind, why=str(error))
            return False
        if effects is None:
            return False
        phase = phase or await asyncio.to_thread(self._phase_left)
        log.info("fault", kind=each.kind, target=target, phase=phase, seconds=each.seconds)
        fault = Fault(each.kind, target, began, ended, phase, effects)
        if not isinstance(kind, LastingFault):
            self._scene.faults.append(fault)
        else:
            self._scene.held.add(target)
            self._lasting.append(asyncio.create_task(self._last(kind, fault, each.seconds)))
        return True

    def _phase_left(self) -> str:
        """The phase that a fault has just hit, which does not go on at once without its process.
        The fault counts even if the store does not answer."""
        try:
            return self._scene.phase()
        except RealmError:
            return REST

    async def _last(self, kind: LastingFault, fault: Fault, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        await asyncio.to_thread(_end, kind, fault.target)
        self._scene.held.discard(fault.target)
        self._scene.faults.append(replace(fault, ended=time.time()))


@retry(
    retry=retry_if_exception_type(RealmError),
    stop=stop_after_delay(END_SECONDS),
    wait=wait_fixed(0.5),
    reraise=True,
)
def _end(kind: LastingFault, target: str) -> None:
    """Again and again: another fault may be in its way."""
    kind.end(target)

"""Takes questions on, or refuses them at once; those of streams wait for their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from realm.errors import Overloaded
from realm.settings.groups import Gateway as GatewaySettings
from services.gateway.admission.cost import Cost
from services.gateway.admission.lanes import Lane, Lanes, Stage, Work
from services.gateway.metrics import GatewayMetrics
from services.gateway.waiting import wait_for_event

#: Until something is measured: seconds to encode or read a token, and to search once.
TOKEN_SECONDS = 3e-4
SEARCH_SECONDS = 5e-3
#: Beside one another, however long one takes alone.
SEARCHES = 32
#: Of what may queue, the part that those may fill who wait for their turn: the others are refused
#: where there is no room, so some is left for them.
PATIENT_SHARE = 0.5
#: Longest wait of a stream for a place to become free before it looks again by itself.
TURN_SECONDS = 1.0


class Place:
    """What a question that was taken on has still to be done for it, by stage."""

    def __init__(self, admission: Admission, caller: str, work: Work) -> None:
        self._admission = admission
        self._caller = caller
        self._left: dict[Stage, float] = {}
        self.caller = caller
        for stage, units in work.items():
            self.expect(stage, units)

    def expect(self, stage: Stage, units: float) -> None:
        """What is to be done in a stage is known better now; 0: nothing any more."""
        before = self._left.get(stage, 0.0)
        self._left[stage] = units
        self._admission.lanes[stage].ledger.add(self._caller, units - before)
        if units < before:
            self._admission.wake()

    def close(self) -> None:
        for stage in self._left:
            self.expect(stage, 0.0)


class Admission:
    """For the event loop."""

    def __init__(
        self, settings: GatewaySettings, full: tuple[int, int], metrics: GatewayMetrics
    ) -> None:
        """:param full: tokens of a full batch, to encode and to read."""
        searching, reading = settings.search_queue_seconds, settings.read_queue_seconds
        self.lanes = Lanes(
            {
                "encode": Lane(Cost(TOKEN_SECONDS, full[0]), searching, always=full[0]),
                "search": Lane(Cost(SEARCH_SECONDS, 1), searching, always=SEARCHES),
                "read": Lane(Cost(TOKEN_SECONDS, full[1]), reading, always=full[1]),
            }
        )
        self._metrics = metrics
        self._changed = asyncio.Event()
        metrics.show_queues(self.queue_seconds)

    def queue_seconds(self, stage: Stage) -> float:
        """Seconds of work that wait in a stage or are being done."""
        lane = self.lanes[stage]
        return lane.cost.queued(lane.ledger.total)

    def wake(self) -> None:
        """Some work is done: whoever waits for a turn looks again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @asynccontextmanager
    async def place(
        self, caller: str, work: Work, seconds: float, *, patient: bool = False
    ) -> AsyncIterator[Place]:
        """:param patient: waits until there is room, for which the caller keeps the time.
        :raises Overloaded: at once, if the work cannot be done in `seconds`, or would queue for
            longer than anybody's may; with the time after which to try again.
        """
        ends, share = time.monotonic() + seconds, PATIENT_SHARE if patient else 1.0
        while excess := self.lanes.excess(caller, work, ends - time.monotonic(), share=share):
            if not patient:
                self._refuse(seconds, excess)
            await wait_for_event(self._changed, min(excess, TURN_SECONDS))
        place = Place(self, caller, work)
        self._metrics.inflight.inc()
        try:
            yield place
        finally:
            place.close()
            self._metrics.inflight.dec()

    def _refuse(self, seconds: float, excess: float) -> NoReturn:
        self._metrics.refused.inc()
        raise Overloaded(
            f"there is more work than can be done in {seconds:.1f} s; try again in {excess:.2f} s",
            retry_seconds=f"{excess:.3f}",
        )

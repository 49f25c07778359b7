"""Publishes one snapshot after the other and watches, in the store, what becomes of each.

Every third is spoilt: its index is built like any other and refused by the gate. It must never
answer, and its build is one without a swap, to compare latencies with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import tiny
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.process.wakeup import Wakeup
from realm.records.generations import Event, Generations, outcome
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store

SPOILT_EVERY = 3
#: Between two looks.
LOOK_SECONDS = 0.1
#: A build takes a few seconds: one that takes so long will not end.
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Refresh:
    """From publication to its end. Times are Unix times; `state` is None if it had no end."""

    snapshot: int
    generation: int
    spoilt: bool
    published: float
    ended: float
    state: State | None
    why: str = ""

    @property
    def as_meant(self) -> bool:
        return self.state is (State.REJECTED if self.spoilt else State.LIVE)


class Refreshes:
    """One refresh at a time, and a rest after each."""

    def __init__(
        self,
        store: Store,
        redis_url: str,
        model: Model,
        seed: int,
        rest_seconds: float,
        on_end: Callable[[int], None] = lambda generation: None,
    ) -> None:
        """:param on_end: hears the generation of each refresh when it ends."""
        self.ended: list[Refresh] = []
        self._generations = Generations(store)
        self._snapshots = Snapshots(store)
        self._nudge = Wakeup(redis_url)
        self._model = model
        self._seed = seed
        self._rest = rest_seconds
        self._on_end = on_end

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; a refresh that has begun is watched to its end."""
        number = 0
        while not stop.is_set():
            number += 1
            spoilt = number % SPOILT_EVERY == 0
            snapshot = await asyncio.to_thread(self._publish, number, spoilt)
            ended = await self._watch(snapshot, spoilt)
            self.ended.append(ended)
            self._on_end(ended.generation)
            await _rest(stop, self._rest)
        self._nudge.close()

    def _publish(self, number: int, spoilt: bool) -> Snapshot:
        make = tiny.spoilt if spoilt else tiny.changed
        model = make(self._model, self._seed * 10_000 + number)
        snapshot = publish_model(self._snapshots, model, step=number)
        self._nudge.send("snapshot")
        return snapshot

    async def _watch(self, snapshot: Snapshot, spoilt: bool) -> Refresh:
        deadline = time.monotonic() + PATIENCE_SECONDS
        generation, event = 0, None
        while event is None and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            generation, event = await asyncio.to_thread(self._look, snapshot.number)
        return Refresh(
            snapshot=snapshot.number,
            generation=generation,
            spoilt=spoilt,
            published=snapshot.created_at,
            ended=event.at if event else time.time(),
            state=event.state if event else None,
            why=event.why if event else "it did not end in time",
        )

    def _look(self, snapshot: int) -> tuple[int, Event | None]:
        """The snapshot's generation, 0 if it has none yet, and how it ended."""
        for number in reversed(self._generations.numbers()):
            if self._generations.get(number).snapshot == snapshot:
                events = self._generations.events(number)
                return number, outcome(events)
        return 0, None


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return

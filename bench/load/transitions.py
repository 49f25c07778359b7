"""Changes of the live generation under load: each is asked for, then watched to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bench import tiny
from bench.cluster import BenchCluster
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.process.wakeup import Wakeup
from realm.records.generation import Event, Generation, outcome
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot
from realm.records.states import State

DEGRADED_EVERY = 3
#: So many refreshes after another, what is live then stays so for longer: damage has time to show.
LONG_REST_EVERY = 4
LONG_REST_SECONDS = 20.0
POLL_SECONDS = 0.1


class Change(StrEnum):
    REFRESH = "refresh"
    #: To an encoder of another base model.
    SWITCH = "switch"
    #: A snapshot that finds worse: the gate must refuse it.
    WORSE = "worse"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Transition:
    """From the request to its end. Times are Unix times.

    :param generation: what it made live, or what was refused; None if none was begun in time.
    :param state: None if it did not end in time.
    """

    change: Change
    snapshot: int
    began: float
    ended: float
    generation: Generation | None
    state: State | None
    why: str = ""

    @property
    def as_expected(self) -> bool:
        return self.state is (State.REJECTED if self.change is Change.WORSE else State.LIVE)


class TransitionWatch:
    """Waits for the end of a generation that is built for a snapshot; `ended` holds all."""

    def __init__(self, cluster: BenchCluster, patience_seconds: float) -> None:
        self.ended: list[Transition] = []
        self.generations = Generations(cluster.store)
        self._patience = patience_seconds

    async def watch(self, change: Change, snapshot: int, began: float, since: float) -> Transition:
        """:param since: generations made before that moment, in Unix time, do not count."""
        deadline = time.monotonic() + self._patience
        generation: Generation | None = None
        event: Event | None = None
        while event is None and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            generation, event = await asyncio.to_thread(self._newest, snapshot, since)
        ended, state, why = time.time(), None, "it did not end in time"
        if event is not None:
            ended, state, why = event.at, event.state, event.why
        transition = Transition(change, snapshot, began, ended, generation, state, why)
        self.ended.append(transition)
        return transition

    def _newest(self, snapshot: int, since: float) -> tuple[Generation | None, Event | None]:
        """The snapshot's newest generation, and how it ended."""
        for number in reversed(self.generations.numbers()):
            generation = self.generations.get(number)
            if generation.snapshot == snapshot and generation.created_at >= since:
                return generation, outcome(self.generations.events(number))
        return None, None


class Refreshes(TransitionWatch):
    """Publishes one snapshot after another, with a rest after each refresh.

    Every third is degraded: its index is built like any other and refused by the gate. It must
    never answer, and its build is one without a swap, to compare latencies with.
    """

    def __init__(
        self,
        cluster: BenchCluster,
        model: Model,
        seed: int,
        rest_seconds: float,
        on_end: Callable[[Generation | None], None] = lambda _: None,
    ) -> None:
        """:param on_end: takes the generation of each refresh when it ends."""
        # A build takes a few seconds: one that takes this long will not end.
        super().__init__(cluster, patience_seconds=90.0)
        self._snapshots = cluster.snapshots
        self._wakeup = Wakeup(cluster.redis_url)
        self._model = model
        self._seed = seed
        self._rest = rest_seconds
        self._on_end = on_end

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; a refresh that has begun is watched to its end."""
        number = 0
        while not stop.is_set():
            number += 1
            change = Change.REFRESH if number % DEGRADED_EVERY else Change.WORSE
            snapshot = await asyncio.to_thread(self._publish, number, change)
            ended = await self.watch(change, snapshot.number, snapshot.created_at, since=0.0)
            self._on_end(ended.generation)
            try:
                rest = self._rest if number % LONG_REST_EVERY else LONG_REST_SECONDS
                await asyncio.wait_for(stop.wait(), rest)
            except TimeoutError:
                continue
        self._wakeup.close()

    def _publish(self, number: int, change: Change) -> Snapshot:
        make = tiny.degraded if change is Change.WORSE else tiny.perturbed
        model = make(self._model, self._seed * 10_000 + number)
        snapshot = publish_model(self._snapshots, model, step=number)
        self._wakeup.send("snapshot")
        return snapshot

"""What is done to the cluster under load: publish another encoder, roll back, refresh, and watch
each to its end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.cluster import BenchCluster
from realm.client import AsyncClient
from realm.errors import DependencyUnavailable
from realm.records.generations import Event, Generation, Generations, outcome
from realm.records.states import State

LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 300.0


class Kind(StrEnum):
    #: A published encoder that finds at least as well as live.
    SWITCH = "switch"
    #: A published encoder that finds worse: the gate must refuse it.
    WORSE = "worse"
    ROLLBACK = "rollback"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Step:
    """From being asked for to its end. Times are Unix times; `generation` is what it made live,
    or what was refused; None if it had no end in time."""

    kind: Kind
    began: float
    ended: float
    generation: Generation | None
    state: State | None
    why: str = ""

    @property
    def as_meant(self) -> bool:
        return self.state is (State.REJECTED if self.kind is Kind.WORSE else State.LIVE)


class Steps:
    """Does one step after the other; `done` holds those that ended."""

    def __init__(self, cluster: BenchCluster, settings: dict[str, str]) -> None:
        self.done: list[Step] = []
        self._cluster = cluster
        self._settings = settings
        self._generations = Generations(cluster.store)

    async def publish(self, folder: Path, kind: Kind = Kind.SWITCH) -> None:
        """By the command, as an operator would; a rollback before it paused the refresh."""
        began = time.time()
        async with AsyncClient(self._cluster.gateways[0]) as client:
            await client.pause(False, reason="bench")
        snapshot = await self.command(folder)
        await self._until_ended(kind, began, snapshot)

    async def refresh(self) -> None:
        began = time.time()
        async with AsyncClient(self._cluster.gateways[0]) as client:
            asked = await client.refresh(reason="bench")
        await self._until_ended(Kind.REFRESH, began, asked.snapshot)

    async def roll_back(self) -> None:
        began = time.time()
        async with AsyncClient(self._cluster.gateways[0]) as client:
            found = await client.roll_back(reason="bench")
        generation = self._generations.get(found.generation)
        self.done.append(Step(Kind.ROLLBACK, began, time.time(), generation, State.LIVE))

    async def command(self, folder: Path) -> int:
        """Runs `realm snapshots publish`; returns the snapshot's number.

        :raises DependencyUnavailable: with what it said, if it fails.
        """
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "realm.cli.main",
                "snapshots",
                "publish",
                str(folder),
                "--json",
            ),
            env={**os.environ, **self._cluster.cluster.environment(), **self._settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, words = await process.communicate()
        if process.returncode:
            raise DependencyUnavailable(f"`realm snapshots publish` failed: {words.decode()}")
        return int(json.loads(out)["snapshot"])

    async def _until_ended(self, kind: Kind, began: float, snapshot: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = await asyncio.to_thread(self._ended, snapshot, began)
            if found:
                generation, event = found
                step = Step(kind, began, event.at, generation, event.state, event.why)
                self.done.append(step)
                return
            await asyncio.sleep(LOOK_SECONDS)
        self.done.append(Step(kind, began, time.time(), None, None, "it did not end in time"))

    def _ended(self, snapshot: int, since: float) -> tuple[Generation, Event] | None:
        """The newest generation of the snapshot, begun since then, and how it ended."""
        for number in reversed(self._generations.numbers()):
            generation = self._generations.get(number)
            event = outcome(self._generations.events(number))
            if event and generation.snapshot == snapshot and generation.created_at >= since:
                return generation, event
        return None

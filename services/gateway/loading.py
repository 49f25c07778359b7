"""Loads generations: what becomes live, and what a request names beside it.

A gateway has room for two sets of models: those of the current generation, and one more. Whoever
loads one has the turn until it is in use, and what was beside the current one goes first.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog
import torch

from realm.process.threads import lower_priority
from realm.records.generation import LiveEntry
from realm.search.queries import QueryMaker
from services.gateway.serving import LoadServing, Serving, ServingSlot, load_serving
from services.gateway.view import StoreView
from services.gateway.waiting import end_tasks

log = structlog.get_logger(__name__)


class Loader:
    """Loads one generation at a time, in a thread; `turn` is held by who needs the room."""

    def __init__(
        self,
        view: StoreView,
        *,
        device: torch.device,
        dtype: torch.dtype,
        load: LoadServing = load_serving,
    ) -> None:
        """:param load: loads a generation's models."""
        self.turn = asyncio.Lock()
        self._view = view
        self._device = device
        self._dtype = dtype
        self._load_models = load
        self._thread = ThreadPoolExecutor(1, "load", initializer=lower_priority)

    async def load(self, entry: LiveEntry, current: Serving | None) -> Serving:
        """:raises Corrupt, NotFound: if its files are damaged or gone."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._load, entry, current
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self, entry: LiveEntry, current: Serving | None) -> Serving:
        """Loads models only for another snapshot than the one in memory."""
        generation = self._view.generations.get(entry.generation)
        if current is not None and current.generation.snapshot == generation.snapshot:
            queries = QueryMaker.of(self._view.store, generation, current.queries.relevance)
            return replace(current, entry=entry, generation=generation, queries=queries)
        snapshot = self._view.snapshots.get(generation.snapshot)
        return self._load_models(
            self._view.store,
            self._view.snapshots,
            snapshot,
            generation,
            entry,
            device=self._device,
            dtype=self._dtype,
            before=current,
        )


class NamedGenerations:
    """What requests name: loaded when it is first asked for, however many ask."""

    def __init__(self, view: StoreView, slot: ServingSlot, loader: Loader) -> None:
        self._view = view
        self._slot = slot
        self._loader = loader
        self._loading: dict[int, asyncio.Task[None]] = {}

    async def await_loaded(self, number: int) -> None:
        """Returns once the slot holds it; at once for 0, which names none. Whoever no longer waits
        takes nothing from others: loading goes on.

        :raises NotFound: if it can be asked no longer, naming those that can.
        """
        while not self._slot.holds(number):
            entry = await asyncio.to_thread(self._view.entry_of, number)
            task = self._loading.get(number)
            if task is None:
                task = self._loading[number] = asyncio.create_task(self._load(entry))
                task.add_done_callback(lambda done: self._loaded(number, done))
            await asyncio.shield(task)

    async def close(self) -> None:
        await end_tasks(self._loading.values())

    def _loaded(self, number: int, task: asyncio.Task[None]) -> None:
        del self._loading[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("named_generation_not_loaded", generation=number, error=str(error))

    async def _load(self, entry: LiveEntry) -> None:
        number = entry.generation
        async with self._loader.turn:
            if self._slot.holds(number):
                return
            self._slot.drop_other()
            serving = await self._loader.load(entry, self._slot.current)
            view = await asyncio.to_thread(self._view.read, {number})
            self._slot.put_other(serving, view.freshness[number])
        log.info("named_generation_loaded", generation=number)

"""When the bench first saw what is live, and what is noted as damaged, by its own clock: that of
the leader that wrote it may be wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import structlog

from realm.errors import RealmError
from realm.records.controls import damaged
from realm.records.generation import LiveEntry
from realm.records.generations import Generations
from realm.records.store import Store

POLL_SECONDS = 0.3

log = structlog.get_logger(__name__)


class Sightings:
    """`noticed` holds the damaged generations. Unix times."""

    def __init__(self, generations: Generations, store: Store) -> None:
        """:param generations: keeps what it has read, if it is damaged later."""
        self.noticed: dict[int, float] = {}
        self._generations = generations
        self._store = store
        self._live: dict[int, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except RealmError as error:
                log.warning("store_not_read", why=str(error))
            await asyncio.sleep(POLL_SECONDS)

    def look(self) -> None:
        """:raises RealmError: if the store cannot be read."""
        now = time.time()
        for entry in self._generations.live_history():
            self._live.setdefault(entry.sequence, now)
        for number in damaged(self._store):
            self.noticed.setdefault(number, now)

    def history(self) -> list[LiveEntry]:
        """What was live, oldest first; `at` is when it was first seen."""
        self.look()
        found = self._generations.live_history()
        return [replace(each, at=self._live[each.sequence]) for each in found]

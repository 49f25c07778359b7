"""The newest corpus version that anybody was told of: who waits for a later one waits in vain."""

from __future__ import annotations

import asyncio

from realm.corpus.delta_log import newest_version
from realm.errors import FailedPrecondition
from realm.records.store import Store


class NewestVersion:
    """Reads the store only for versions that are later than the newest known, and once for all who
    ask meanwhile. For the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = 0
        self._reading: asyncio.Task[None] | None = None

    async def check(self, version: int) -> None:
        """Lets versions pass that may be asked for; all of them while the store cannot be read.

        :raises FailedPrecondition: if the version is later than the newest.
        """
        if version <= self._known:
            return
        # What is being read now may have been read before the version was written.
        if self._reading is not None:
            await asyncio.wait([self._reading])
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="newest version")
        reading = self._reading
        await asyncio.wait([reading])
        if reading.exception() is None and version > self._known:
            raise FailedPrecondition(
                f"corpus version {version} was never written, the newest is {self._known}: ask for"
                " a version that a write was answered with",
                corpus_version=self._known,
            )

    async def _read(self) -> None:
        found = await asyncio.to_thread(newest_version, self._store)
        self._known = max(self._known, found)

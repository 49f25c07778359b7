"""The final read-out: every document through every gateway, and every collection that is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from bench.documents import DocumentWriter
from bench.history.clients import RecordedClient
from bench.history.events import Kind, Read, Rest, Revision
from bench.history.readings import Readings
from bench.history.recorder import Recorder
from bench.load.believed import Believed
from realm.errors import RealmError

AT_ONCE = 4
LIMIT = 20


class ReadOut:
    """Gets each document, searches for those that were written under load; what fails is recorded,
    like everything."""

    def __init__(self, recorder: Recorder, writer: DocumentWriter, believed: Believed) -> None:
        self._recorder = recorder
        self._writer = writer
        self._believed = believed
        self._places = asyncio.Semaphore(AT_ONCE)

    async def run(self, clients: Sequence[RecordedClient], readings: Readings) -> None:
        """:param clients: one for each gateway."""
        self._recorder.record(Rest(time.time(), len(clients)))
        jobs = [
            self._read(client, document)
            for client in clients
            for document in self._believed.names()
        ]
        await asyncio.gather(*jobs)
        served = await readings.read_served(self._believed.version)
        self._recorder.record(Read(time.time(), tuple(served)))

    async def _read(self, client: RecordedClient, document: str) -> None:
        async with self._places:
            with suppress(RealmError):
                await client.get(document)
            if document in self._believed.written:
                with suppress(RealmError):
                    await self._search(client, document)

    async def _search(self, client: RecordedClient, document: str) -> None:
        """By its newest words, whether it was deleted since or not."""
        newest = self._believed.newest(document)
        await client.search(
            self._writer.question(document, newest),
            Revision(document, newest),
            kind=Kind.FRESH,
            limit=LIMIT,
            at_least=self._believed.version,
        )

"""What a cluster holds, read past its services and recorded: collections, generations, what was
live."""

from __future__ import annotations

import asyncio
import time

import grpc
import structlog
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from bench.history.events import Held, Made, Seen, Turn
from bench.history.recorder import Recorder, revision_of
from bench.points import read_payloads
from realm.errors import RealmError
from realm.records.controls import damaged
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store

EVERY_SECONDS = 5.0
SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.2
#: What reading a collection may meet while faults are injected.
AWAY = (grpc.RpcError, QdrantException, ApiException, RealmError)

log = structlog.get_logger(__name__)


class Readings:
    """Reads what gateways search, all of it, again and again."""

    def __init__(self, store: Store, qdrant_url: str, recorder: Recorder) -> None:
        self._store = store
        self._qdrant_url = qdrant_url
        self._recorder = recorder
        self._generations = Generations(store)
        self._made: dict[int, Made] = {}
        self._turns: set[int] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await asyncio.to_thread(self._read_all)

    def _read_all(self) -> None:
        try:
            self.record_versions()
            served = sorted(self._generations.served())
        except RealmError as error:
            log.warning("store_not_read", why=str(error))
            return
        for number in served:
            try:
                self.read_collection(number)
            except AWAY as error:
                # Qdrant is away, or the collection was lost or dropped meanwhile.
                log.warning("collection_not_read", generation=number, why=str(error)[:200])

    def record_versions(self) -> None:
        """Generations and turns that are new."""
        for number in self._generations.numbers():
            made = self._generations.get(number)
            live = any(each.state is State.LIVE for each in self._generations.events(number))
            known = Made(number, made.snapshot, made.step, live)
            if self._made.get(number) != known:
                self._recorder.record(known)
                self._made[number] = known
        for entry in self._generations.live_history():
            if entry.sequence not in self._turns:
                self._recorder.record(Turn(entry.sequence, entry.generation, entry.at))
                self._turns.add(entry.sequence)

    def read_collection(self, number: int) -> None:
        """Every document of a generation's collection, at every version that it holds."""
        collection = self._generations.get(number).collection
        # As gateways do: a damaged one claims nothing.
        whole = number not in damaged(self._store)
        applied, began = self._generations.applied(number) if whole else 0, time.time()
        payloads = read_payloads(self._qdrant_url, collection)
        found = (
            Seen(each["document_id"], int(each["document_version"]), revision_of(each["metadata"]))
            for each in payloads
        )
        documents = tuple(dict.fromkeys(found))
        self._recorder.record(Held(number, applied, began, time.time(), documents))

    async def read_served(self, version: int) -> list[int]:
        """Reads live and the retained one when they hold that version; returns their numbers.

        :raises TimeoutError: if one does not come to hold it.
        """
        served = await self._settled(version)
        for number in served:
            await asyncio.to_thread(self.read_collection, number)
        return served

    async def _settled(self, version: int) -> list[int]:
        """Live and the retained one, when they hold every write up to a version."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                served = sorted(self._generations.served())
                if all(self._generations.applied(number) >= version for number in served):
                    return served
                await asyncio.sleep(POLL_SECONDS)

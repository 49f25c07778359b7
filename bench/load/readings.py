"""What a cluster holds, read past its services and recorded: collections, generations, what was
live. While the load lasts, and once more when it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import grpc
import structlog
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from bench.cluster import BenchCluster
from bench.documents import DocumentWriter
from bench.history.clients import RecordedClient
from bench.history.events import Held, Kind, Made, Read, Rest, Revision, Seen, Turn
from bench.history.recorder import Recorder, revision_of
from bench.load.believed import Believed
from bench.points import read_payloads
from realm.errors import RealmError
from realm.records.damage import damaged
from realm.records.generations import Generations
from realm.records.states import ACTIVE

EVERY_SECONDS = 5.0
AT_ONCE = 4
LIMIT = 20
SETTLE_SECONDS = 60.0
POLL_SECONDS = 0.2
#: What reading a collection may meet while faults are injected.
AWAY = (grpc.RpcError, QdrantException, ApiException, RealmError)

log = structlog.get_logger(__name__)


class Readings:
    """Reads what gateways search, all of it, again and again."""

    def __init__(self, cluster: BenchCluster, recorder: Recorder) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._generations = Generations(cluster.store)
        self._made: set[int] = set()
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
            if number not in self._made:
                made = self._generations.get(number)
                self._recorder.record(Made(number, made.snapshot, made.step))
                self._made.add(number)
        for entry in self._generations.live_history():
            if entry.sequence not in self._turns:
                self._recorder.record(Turn(entry.sequence, entry.generation, entry.at))
                self._turns.add(entry.sequence)

    def read_collection(self, number: int) -> None:
        """Every document of a generation's collection, at every version that it holds."""
        collection = self._generations.get(number).collection
        # As gateways do: a damaged one claims nothing.
        whole = number not in damaged(self._cluster.store)
        applied, began = self._generations.applied(number) if whole else 0, time.time()
        payloads = read_payloads(self._cluster.qdrant_url, collection)
        found = (
            Seen(each["document_id"], int(each["document_version"]), revision_of(each["metadata"]))
            for each in payloads
        )
        documents = tuple(dict.fromkeys(found))
        self._recorder.record(Held(number, applied, began, time.time(), documents))

    async def read_everything(
        self,
        clients: Sequence[RecordedClient],
        writer: DocumentWriter,
        believed: Believed,
    ) -> None:
        """The final read-out: each document through each gateway, and a search for those that were
        written under load; then each active collection, once it holds every write."""
        self._recorder.record(Rest(time.time(), len(clients)))
        self.record_versions()
        for client in clients:
            reader = _Reader(client, writer, believed)
            await asyncio.gather(*map(reader.read, believed.names()))
        active = await self._settled(believed.version)
        for number in active:
            await asyncio.to_thread(self.read_collection, number)
        self._recorder.record(Read(time.time(), tuple(active)))

    async def _settled(self, version: int) -> list[int]:
        """The active generations, once they hold every write up to a version."""
        generations = self._generations
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                active = [n for n in generations.numbers() if generations.state(n) in ACTIVE]
                if all(generations.applied(number) >= version for number in active):
                    return active
                await asyncio.sleep(POLL_SECONDS)


class _Reader:
    """Reads documents through one gateway; what fails is recorded."""

    def __init__(self, client: RecordedClient, writer: DocumentWriter, believed: Believed) -> None:
        self._client = client
        self._writer = writer
        self._believed = believed
        self._places = asyncio.Semaphore(AT_ONCE)

    async def read(self, document: str) -> None:
        async with self._places:
            with suppress(RealmError):
                await self._client.get(document)
            if document in self._believed.written:
                sought = Revision(document, self._believed.newest(document))
                with suppress(RealmError):
                    await self._search(sought)

    async def _search(self, sought: Revision) -> None:
        """By its newest words, whether it was deleted since or not."""
        assert sought.number is not None
        await self._client.search(
            self._writer.question(sought.document, sought.number),
            sought,
            kind=Kind.FRESH,
            limit=LIMIT,
            at_least=self._believed.version,
        )

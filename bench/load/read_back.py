"""Reads everything back when all is quiet, to find writes that were lost or came back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from bench.cluster import BenchCluster
from bench.documents import DocumentWriter
from bench.load.ledger import Ledger, Write, compare, fresh_fault
from bench.points import read_points
from realm.client import AsyncClient
from realm.errors import NotFound, RealmError
from realm.records.generations import Generations
from realm.records.states import ACTIVE
from realm.records.store import Store

AT_ONCE = 4
LIMIT = 20
SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Sentences on what was lost and what came back; `looked` counts what was read."""

    lost: list[str]
    resurrected: list[str]
    looked: int


class _Reader:
    """Reads documents back through one gateway."""

    def __init__(self, client: AsyncClient, writer: DocumentWriter, ledger: Ledger) -> None:
        self._client = client
        self._writer = writer
        self._ledger = ledger
        self._places = asyncio.Semaphore(AT_ONCE)

    async def get(self, document_id: str, write: Write) -> tuple[Write, str]:
        """Returns the write, and what is wrong with the document."""
        async with self._places:
            try:
                version = (await self._client.get(document_id)).document_version
            except NotFound:
                return write, "" if write.revision is None else f"{document_id} is not there"
            except RealmError as error:
                return write, f"{document_id} cannot be read: {error}"
        if write.revision is None:
            return write, f"{document_id} was deleted at version {write.version} and is there"
        right = version == write.version
        return write, "" if right else f"{document_id}: version {version}, not {write.version}"

    async def search(self, document_id: str, write: Write) -> tuple[Write, str]:
        question = self._writer.question(document_id, self._ledger.last_revision(document_id))
        async with self._places:
            try:
                found = await self._client.search(
                    question, limit=LIMIT, at_least_version=self._ledger.newest_version
                )
            except RealmError as error:
                return write, f"{document_id} cannot be searched for: {error}"
        passages = [each.passage for each in found.passages]
        versions = [each.document_version for each in passages if each.document_id == document_id]
        fault = fresh_fault(write, found.index_version.corpus_version, versions)
        return write, f"{document_id}: {fault}" if fault else ""


async def read_back(
    cluster: BenchCluster, writer: DocumentWriter, ledger: Ledger, written: Iterable[str]
) -> ReadBack:
    """Gets every document, and searches for those written under load, through every gateway;
    then reads each active collection."""
    lost: list[str] = []
    resurrected: list[str] = []
    looked = 0
    certain = ledger.certain()
    chosen = [each for each in written if each in certain]
    for address in cluster.gateways:
        async with AsyncClient(address, timeout=30) as client:
            reader = _Reader(client, writer, ledger)
            jobs = [reader.get(each, write) for each, write in certain.items()]
            jobs += [reader.search(each, certain[each]) for each in chosen]
            faults = await asyncio.gather(*jobs)
        looked += len(jobs)
        for write, fault in faults:
            if fault:
                (lost if write.revision is not None else resurrected).append(f"{address}: {fault}")
    for name in await _settled(cluster.store, ledger.newest_version):
        points = await asyncio.to_thread(read_points, cluster.qdrant_url, name)
        versions = points.versions().items()
        held = {each: found for each, found in versions if not ledger.is_doubtful(each)}
        missing, wrong = compare(ledger.present(), held)
        looked += len(points.ids)
        lost += [f"{name} lacks {each}" for each in missing]
        resurrected += [f"{name} holds {each} at another version" for each in wrong]
    return ReadBack(lost, resurrected, looked)


async def _settled(store: Store, version: int) -> list[str]:
    """Collections of the active generations, once they hold every write."""
    generations = Generations(store)
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            active = [n for n in generations.numbers() if generations.state(n) in ACTIVE]
            if all(generations.applied(number) >= version for number in active):
                return [generations.get(number).collection for number in active]
            await asyncio.sleep(0.2)

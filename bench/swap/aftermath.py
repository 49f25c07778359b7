"""When all is quiet: is everything there that was acknowledged, and nothing that was deleted?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.corpus import Author
from bench.points import read_points
from bench.swap.ledger import Ledger, Write, compare, fresh_fault
from realm.client import AsyncClient
from realm.errors import NotFound, RealmError
from realm.records.generations import Generations
from realm.records.states import ACTIVE
from realm.records.store import Store

AT_ONCE = 4
LIMIT = 20
SHOWN = 20
SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Sentences on what was lost and what came back; `looked` counts what was looked at."""

    lost: list[str]
    resurrected: list[str]
    looked: int


async def look(
    gateways: Sequence[str],
    store: Store,
    qdrant_url: str,
    author: Author,
    ledger: Ledger,
    written: Iterable[str],
) -> Aftermath:
    """Gets every document; searches, at every gateway, for those written under load; and reads
    each active collection out."""
    lost: list[str] = []
    resurrected: list[str] = []
    looked = 0
    certain = ledger.certain()
    chosen = [each for each in written if each in certain]
    for address in gateways:
        async with AsyncClient(address, timeout=30) as client:
            gate = asyncio.Semaphore(AT_ONCE)
            jobs = [_got(client, gate, each, certain[each]) for each in certain]
            jobs += [_found(client, gate, author, ledger, each, certain[each]) for each in chosen]
            faults = await asyncio.gather(*jobs)
        looked += len(jobs)
        for write, fault in faults:
            if fault:
                (lost if write.revision is not None else resurrected).append(f"{address}: {fault}")
    for name in await _settled(store, ledger.newest_version):
        points = await asyncio.to_thread(read_points, qdrant_url, name)
        held = {
            each: versions
            for each, versions in points.versions().items()
            if not ledger.is_doubtful(each)
        }
        missing, wrong = compare(ledger.present(), held)
        looked += len(points.ids)
        lost += [f"{name} lacks {each}" for each in missing]
        resurrected += [f"{name} holds {each} at another version" for each in wrong]
    return Aftermath(lost, resurrected, looked)


async def _got(
    client: AsyncClient, gate: asyncio.Semaphore, document_id: str, write: Write
) -> tuple[Write, str]:
    async with gate:
        try:
            version = (await client.get(document_id)).document_version
        except NotFound:
            return write, "" if write.revision is None else f"{document_id} is not there"
        except RealmError as error:
            return write, f"{document_id} cannot be got: {error}"
    if write.revision is None:
        return write, f"{document_id} was deleted at version {write.version} and is there"
    right = version == write.version
    return write, "" if right else f"{document_id}: version {version}, not {write.version}"


async def _found(
    client: AsyncClient,
    gate: asyncio.Semaphore,
    author: Author,
    ledger: Ledger,
    document_id: str,
    write: Write,
) -> tuple[Write, str]:
    question = author.question(document_id, ledger.last_revision(document_id))
    async with gate:
        try:
            found = await client.search(
                question, limit=LIMIT, at_least_version=ledger.newest_version
            )
        except RealmError as error:
            return write, f"{document_id} cannot be searched for: {error}"
    passages = [each.passage for each in found.passages]
    versions = [each.document_version for each in passages if each.document_id == document_id]
    fault = fresh_fault(write, found.index_version.corpus_version, versions)
    return write, f"{document_id}: {fault}" if fault else ""


async def _settled(store: Store, version: int) -> list[str]:
    """Collections of live and retained generations, once they hold every write."""
    generations = Generations(store)
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            active = [n for n in generations.numbers() if generations.state(n) in ACTIVE]
            if all(generations.applied(number) >= version for number in active):
                return [generations.get(number).collection for number in active]
            await asyncio.sleep(0.2)

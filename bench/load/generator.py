"""The load generator: an open loop of searches, answers and writes through all gateways in turn.

It sends each request when that is due, whatever earlier ones wait for: so a slow moment shows in
the latency of every request that falls into it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.documents import DocumentWriter
from bench.load.ledger import Ledger, Write, fresh_fault
from bench.load.requests import Origin, RequestRecord
from bench.load.schedule import Due, Kind
from realm.client import AsyncClient, document
from realm.errors import RealmError
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import IndexVersion, Passage

DEADLINE_SECONDS = 30.0
NEW_SHARE = 0.4
FRESH_LIMIT = 10
ANSWER_PASSAGES = 3

#: Takes every search's question and response.
Listener = Callable[[str, RetrievePassagesResponse], None]
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class _Sent:
    kind: Kind
    gateway: int
    due: float
    at: float


class LoadGenerator:
    """Sends what is due and records it. Lives on one event loop."""

    def __init__(
        self,
        gateways: Sequence[str],
        writer: DocumentWriter,
        ledger: Ledger,
        seed: int,
        on_search: Listener,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self.records: list[RequestRecord] = []
        self.written: set[str] = set()
        self._clients = [AsyncClient(each, timeout=deadline) for each in gateways]
        self._writer = writer
        self._ledger = ledger
        self._rng = random.Random(seed)
        self._on_search = on_search
        self._busy: set[str] = set()
        self._new = 0

    async def run(self, due: Iterable[Due]) -> None:
        """Sends each request at its moment; returns when all have ended."""
        begun = time.time()
        in_flight: set[asyncio.Task[None]] = set()
        for each in due:
            await asyncio.sleep(max(0.0, begun + each.at - time.time()))
            task = asyncio.create_task(self._perform(each, begun + each.at))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        await asyncio.gather(*in_flight)
        for client in self._clients:
            await client.close()

    async def _perform(self, each: Due, due: float) -> None:
        sent = _Sent(each.kind, each.number % len(self._clients), due, time.time())
        match each.kind:
            case Kind.SEARCH:
                await self._search(sent)
            case Kind.ANSWER:
                await self._ask(sent)
            case Kind.UPSERT | Kind.DELETE:
                await self._write(sent)

    async def _search(self, sent: _Sent) -> None:
        """For a document that must be found, unless somebody writes it meanwhile."""
        document_id = self._rng.choice(list(self._ledger.present()))
        question = self._question(document_id)
        before = self._ledger.state(document_id)
        call = self._clients[sent.gateway].search(
            question, limit=FRESH_LIMIT, at_least_version=before.version if before else 0
        )
        found = await self._attempt(sent, call)
        if found is None:
            return
        fault = ""
        if before and document_id not in self._busy and self._ledger.state(document_id) == before:
            fault = _fault(before, document_id, found)
        self._record(sent, fault, found.index_version, _passages(found))
        self._on_search(question, found)

    async def _ask(self, sent: _Sent) -> None:
        document_id = self._rng.choice(list(self._ledger.present()))
        call = self._clients[sent.gateway].ask(
            self._question(document_id), passages=ANSWER_PASSAGES
        )
        found = await self._attempt(sent, call)
        if found is not None:
            sources = [source.passage for answer in found.answers for source in answer.sources]
            fault = "" if found.answers else "no answer"
            self._record(sent, fault, found.index_version, sources)

    async def _write(self, sent: _Sent) -> None:
        document_id, revision = self._choose(sent.kind)
        self._busy.add(document_id)
        self.written.add(document_id)
        version = await self._attempt(sent, self._send(sent.gateway, document_id, revision))
        if version is None:
            # It stays busy: whether the write took place is unknown.
            self._ledger.unknown(document_id)
            return
        write = self._ledger.acknowledged(document_id, revision, version)
        self._record(sent)
        await self._read_own_write(document_id, write, (sent.gateway + 1) % len(self._clients))
        self._busy.discard(document_id)

    async def _send(self, gateway: int, document_id: str, revision: int | None) -> int:
        client = self._clients[gateway]
        if revision is None:
            return (await client.delete([document_id])).corpus_version
        made = self._writer.write(document_id, revision)
        message = document(made.id, made.text, title=made.title)
        return (await client.upsert([message])).corpus_version

    async def _read_own_write(self, document_id: str, write: Write, gateway: int) -> None:
        """A deleted document is searched for by the words that it had."""
        revision = write.revision
        if revision is None:
            revision = self._ledger.last_revision(document_id)
        now = time.time()
        sent = _Sent(Kind.FRESH, gateway, now, now)
        call = self._clients[gateway].search(
            self._writer.question(document_id, revision),
            limit=FRESH_LIMIT,
            at_least_version=write.version,
        )
        found = await self._attempt(sent, call)
        if found is not None:
            fault = _fault(write, document_id, found)
            self._record(sent, fault, found.index_version, _passages(found))

    def _choose(self, kind: Kind) -> tuple[str, int | None]:
        """A document without a write in flight, and its next revision; None deletes it."""
        idle = [each for each in self._ledger.present() if each not in self._busy]
        if kind is Kind.DELETE and idle:
            return self._rng.choice(idle), None
        if not idle or self._rng.random() < NEW_SHARE:
            self._new += 1
            return f"new-{self._new}", 0
        document_id = self._rng.choice(idle)
        return document_id, self._ledger.last_revision(document_id) + 1

    def _question(self, document_id: str) -> str:
        return self._writer.question(document_id, self._ledger.last_revision(document_id))

    async def _attempt(self, sent: _Sent, call: Awaitable[Response]) -> Response | None:
        """None if it failed, which is recorded."""
        try:
            return await call
        except RealmError as error:
            self.records.append(
                RequestRecord(
                    sent.kind, sent.gateway, sent.due, sent.at, time.time(), failed=str(error)
                )
            )
            return None

    def _record(
        self,
        sent: _Sent,
        fault: str = "",
        version: IndexVersion | None = None,
        passages: Iterable[Passage] = (),
    ) -> None:
        origin = None
        if version is not None:
            origin = Origin(
                version.generation, version.snapshot, version.step, version.corpus_version
            )
        seen = tuple((each.document_id, each.document_version) for each in passages)
        self.records.append(
            RequestRecord(
                sent.kind, sent.gateway, sent.due, sent.at, time.time(), "", fault, origin, seen
            )
        )


def _fault(write: Write, document_id: str, found: RetrievePassagesResponse) -> str:
    versions = [p.document_version for p in _passages(found) if p.document_id == document_id]
    return fresh_fault(write, found.index_version.corpus_version, versions)


def _passages(found: RetrievePassagesResponse) -> list[Passage]:
    return [each.passage for each in found.passages]

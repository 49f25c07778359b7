"""The load: an open loop of searches, answers and writes through all gateways in turn.

Nobody waits for an answer before the next request is sent, so a slow moment is seen by everyone
who would have come in it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence

from bench.corpus import Author
from bench.swap.ledger import Ledger, Write, fresh_fault
from bench.swap.schedule import Due, Kind
from bench.swap.visits import Origin, Visit
from realm.client import AsyncClient, document
from realm.errors import RealmError
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import IndexVersion, Passage

DEADLINE_SECONDS = 30.0
NEW_SHARE = 0.4
FRESH_LIMIT = 10
ANSWER_PASSAGES = 3

#: Hears of every search's question and response.
Listener = Callable[[str, RetrievePassagesResponse], None]


class Load:
    """Sends what is due. Lives on one event loop."""

    def __init__(
        self,
        gateways: Sequence[str],
        author: Author,
        ledger: Ledger,
        seed: int,
        on_search: Listener,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self.visits: list[Visit] = []
        self.written: set[str] = set()
        self._clients = [AsyncClient(each, timeout=deadline) for each in gateways]
        self._author = author
        self._ledger = ledger
        self._rng = random.Random(seed)
        self._on_search = on_search
        self._busy: set[str] = set()
        self._new = 0

    async def run(self, due: Iterable[Due]) -> None:
        """Sends each request at its moment; returns when all have ended."""
        begun = time.time()
        under_way: set[asyncio.Task[None]] = set()
        for each in due:
            await asyncio.sleep(max(0.0, begun + each.at - time.time()))
            task = asyncio.create_task(self._perform(each, begun + each.at))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        for client in self._clients:
            await client.close()

    async def _perform(self, each: Due, due: float) -> None:
        gateway = each.number % len(self._clients)
        match each.kind:
            case Kind.SEARCH:
                await self._search(gateway, due)
            case Kind.ANSWER:
                await self._ask(gateway, due)
            case Kind.UPSERT | Kind.DELETE:
                await self._write(each.kind, gateway, due)

    async def _search(self, gateway: int, due: float) -> None:
        """For a document that must be found, unless somebody writes it meanwhile."""
        document_id = self._present()
        question = self._about(document_id)
        before = self._ledger.state(document_id)
        sent = time.time()
        try:
            found = await self._clients[gateway].search(
                question, limit=FRESH_LIMIT, at_least_version=before.version if before else 0
            )
        except RealmError as error:
            self._note(Kind.SEARCH, gateway, due, sent, failed=str(error))
            return
        passages = [each.passage for each in found.passages]
        fault = ""
        if before and document_id not in self._busy and self._ledger.state(document_id) == before:
            mine = [each.document_version for each in passages if each.document_id == document_id]
            fault = fresh_fault(before, found.index_version.corpus_version, mine)
        self._note(
            Kind.SEARCH, gateway, due, sent,
            fault=fault, version=found.index_version, passages=passages,
        )  # fmt: skip
        self._on_search(question, found)

    async def _ask(self, gateway: int, due: float) -> None:
        sent = time.time()
        try:
            found = await self._clients[gateway].ask(
                self._about(self._present()), passages=ANSWER_PASSAGES
            )
        except RealmError as error:
            self._note(Kind.ANSWER, gateway, due, sent, failed=str(error))
            return
        sources = [source.passage for answer in found.answers for source in answer.sources]
        fault = "" if found.answers else "no answer"
        self._note(
            Kind.ANSWER, gateway, due, sent,
            fault=fault, version=found.index_version, passages=sources,
        )  # fmt: skip

    async def _write(self, kind: Kind, gateway: int, due: float) -> None:
        document_id, revision = self._chosen(kind)
        self._busy.add(document_id)
        self.written.add(document_id)
        sent = time.time()
        try:
            version = await self._send(gateway, document_id, revision)
        except RealmError as error:
            self._ledger.unknown(document_id)
            self._note(kind, gateway, due, sent, failed=str(error))
            return  # and stays busy: nobody knows its state
        write = self._ledger.acknowledged(document_id, revision, version)
        self._note(kind, gateway, due, sent)
        await self._look_for(document_id, write, (gateway + 1) % len(self._clients))
        self._busy.discard(document_id)

    async def _send(self, gateway: int, document_id: str, revision: int | None) -> int:
        client = self._clients[gateway]
        if revision is None:
            return (await client.delete([document_id])).corpus_version
        made = self._author.write(document_id, revision)
        message = document(made.id, made.text, title=made.title)
        return (await client.upsert([message])).corpus_version

    async def _look_for(self, document_id: str, write: Write, gateway: int) -> None:
        """Reads one's own write, through another gateway."""
        # A deleted document is looked for by the words that it had.
        revision = (
            self._ledger.last_revision(document_id) if write.revision is None else write.revision
        )
        question = self._author.question(document_id, revision)
        sent = time.time()
        try:
            found = await self._clients[gateway].search(
                question, limit=FRESH_LIMIT, at_least_version=write.version
            )
        except RealmError as error:
            self._note(Kind.FRESH, gateway, sent, sent, failed=str(error))
            return
        passages = [each.passage for each in found.passages]
        mine = [each.document_version for each in passages if each.document_id == document_id]
        self._note(
            Kind.FRESH, gateway, sent, sent,
            fault=fresh_fault(write, found.index_version.corpus_version, mine),
            version=found.index_version, passages=passages,
        )  # fmt: skip

    def _chosen(self, kind: Kind) -> tuple[str, int | None]:
        """A document that nobody writes just now, and its next revision; None deletes it."""
        idle = [each for each in self._ledger.present() if each not in self._busy]
        if kind is Kind.DELETE and idle:
            return self._rng.choice(idle), None
        if not idle or self._rng.random() < NEW_SHARE:
            self._new += 1
            return f"new-{self._new}", 0
        document_id = self._rng.choice(idle)
        return document_id, self._ledger.last_revision(document_id) + 1

    def _present(self) -> str:
        """A document that is there, or was when the question was thought of."""
        return self._rng.choice(list(self._ledger.present()))

    def _about(self, document_id: str) -> str:
        return self._author.question(document_id, self._ledger.last_revision(document_id))

    def _note(
        self,
        kind: Kind,
        gateway: int,
        due: float,
        sent: float,
        *,
        failed: str = "",
        fault: str = "",
        version: IndexVersion | None = None,
        passages: Iterable[Passage] = (),
    ) -> None:
        origin = _origin(version) if version is not None else None
        seen = tuple((each.document_id, each.document_version) for each in passages)
        self.visits.append(
            Visit(kind, gateway, due, sent, time.time(), failed, fault, origin, seen)
        )


def _origin(version: IndexVersion) -> Origin:
    return Origin(version.generation, version.snapshot, version.step, version.corpus_version)

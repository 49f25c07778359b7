"""The load generator: an open loop of searches, answers and writes through all gateways in turn.

It sends each request when that is due, whatever earlier ones wait for: so a slow moment shows in
the latency of every request that falls into it. Each search asks for something that must be found.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence

from bench.documents import DocumentWriter
from bench.history.clients import RecordedClient
from bench.history.events import Kind, Revision
from bench.load.believed import Believed
from bench.load.schedule import Due
from realm.errors import RealmError
from realm.v1.answer_pb2 import AnswerQuestionResponse
from realm.v1.retrieval_pb2 import RetrievePassagesResponse

DEADLINE_SECONDS = 30.0
ANSWER_PASSAGES = 3
#: Of searches; the others take what there is.
AT_LEAST_SHARE = 0.5

#: Takes an operation's number, its question and the response.
Listener = Callable[[int, str, RetrievePassagesResponse | AnswerQuestionResponse], None]


class LoadGenerator:
    """Sends what is due. Lives on one event loop."""

    def __init__(
        self,
        clients: Sequence[RecordedClient],
        writer: DocumentWriter,
        believed: Believed,
        seed: int,
        on_response: Listener,
    ) -> None:
        self._clients = clients
        self._writer = writer
        self._believed = believed
        self._rng = random.Random(seed)
        self._on_response = on_response
        self._deciding = False

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

    async def _perform(self, each: Due, due: float) -> None:
        client = self._clients[each.number % len(self._clients)]
        other = self._clients[(each.number + 1) % len(self._clients)]
        try:
            match each.kind:
                case Kind.SEARCH:
                    await self._search(client, due)
                case Kind.ANSWER:
                    await self._ask(client, due)
                case Kind.UPSERT | Kind.DELETE:
                    await self._write(each.kind, client, other, due)
        except RealmError:
            pass  # recorded

    async def _search(self, client: RecordedClient, due: float) -> None:
        sought, version = self._believed.something()
        at_least = version if self._rng.random() < AT_LEAST_SHARE else 0
        question = self._question(sought)
        number, found = await client.search(question, sought, at_least=at_least, due=due)
        self._on_response(number, question, found)

    async def _ask(self, client: RecordedClient, due: float) -> None:
        sought, _ = self._believed.something()
        question = self._question(sought)
        number, found = await client.ask(question, sought, passages=ANSWER_PASSAGES, due=due)
        self._on_response(number, question, found)

    async def _write(
        self, kind: Kind, client: RecordedClient, other: RecordedClient, due: float
    ) -> None:
        await self._decide_one()
        written = self._believed.begin_write(delete=kind is Kind.DELETE)
        document = written.document
        try:
            version = await self._send(client, written, due)
        except RealmError:
            self._believed.unsure(document)
            await self._decide(document)
            raise
        before = self._believed.newest(document)
        self._believed.wrote(document, written.number, version)
        # A deleted document is searched for by the words that it had.
        sought = written if written.number is not None else Revision(document, before)
        await other.search(self._question(sought), sought, kind=Kind.FRESH, at_least=version)

    async def _send(self, client: RecordedClient, written: Revision, due: float) -> int:
        if written.number is None:
            return await client.delete(written.document, due=due)
        return await client.upsert([self._writer.write(written.document, written.number)], due=due)

    async def _decide_one(self) -> None:
        """One at a time: reads of many would keep the leader from what is measured."""
        if self._deciding or not (doubtful := self._believed.in_doubt()):
            return
        self._deciding = True
        try:
            await self._decide(doubtful)
        finally:
            self._deciding = False

    async def _decide(self, document: str) -> None:
        """Whether a write took place, as far as a read can tell: it may yet."""
        for client in self._clients:
            try:
                seen = await client.get(document)
            except RealmError:
                continue
            revision, version = (seen.revision, seen.version) if seen else (None, 0)
            self._believed.read(document, revision, version)
            return

    def _question(self, sought: Revision) -> str:
        assert sought.number is not None
        return self._writer.question(sought.document, sought.number)

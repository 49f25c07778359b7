"""Clients whose every operation is recorded: one for asyncio and a blocking one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.documents import message
from bench.history.events import INDEX_READS, Kind, Revision, Seen
from bench.history.recorder import Answered, Recorder, revision_of
from realm.client import AsyncClient, Client, Session
from realm.corpus.documents import Document
from realm.errors import NotFound
from realm.v1.answer_pb2 import AnswerQuestionResponse
from realm.v1.corpus_pb2 import GetDocumentResponse
from realm.v1.retrieval_pb2 import RetrievePassagesResponse


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, through which gateway (its place among all), and what he carries from one to
    another."""

    recorder: Recorder
    name: str
    gateway: int = 0
    session: Session | None = None

    @contextmanager
    def operation(
        self, kind: Kind, asked: list[Revision], *, at_least: int = 0, due: float | None = None
    ) -> Iterator[tuple[int, Answered]]:
        """Records the call in its body."""
        carries = self.session is not None and kind in INDEX_READS
        seen = self.session.seen if self.session is not None and carries else 0
        with self.recorder.operation(
            self.name, self.gateway, kind, asked,
            at_least=max(at_least, seen), due=due, session=self.session is not None,
        ) as entered:  # fmt: skip
            yield entered


class RecordedClient:
    """Lives on one event loop. Reads return the operation's number too."""

    def __init__(self, identity: Identity, client: AsyncClient) -> None:
        self.gateway = identity.gateway
        self._identity = identity
        self._client = client

    async def close(self) -> None:
        await self._client.close()

    async def search(
        self,
        question: str,
        sought: Revision,
        *,
        kind: Kind = Kind.SEARCH,
        limit: int = 10,
        at_least: int = 0,
        due: float | None = None,
    ) -> tuple[int, RetrievePassagesResponse]:
        """:param sought: whose words the question is made of."""
        with self._identity.operation(kind, [sought], at_least=at_least, due=due) as (
            number,
            answered,
        ):
            found = await self._client.search(question, limit=limit, at_least_version=at_least)
            _passages(answered, found)
        return number, found

    async def ask(
        self, question: str, sought: Revision, *, passages: int, due: float | None = None
    ) -> tuple[int, AnswerQuestionResponse]:
        with self._identity.operation(Kind.ANSWER, [sought], due=due) as (number, answered):
            found = await self._client.ask(question, passages=passages)
            sources = [source for answer in found.answers for source in answer.sources]
            answered.index(found.index_version, (each.passage for each in sources))
            answered.answers = len(found.answers)
            answered.scores = _digest(found.answers)
        return number, found

    async def upsert(self, documents: Iterable[Document], *, due: float | None = None) -> int:
        """Returns the corpus version."""
        made = list(documents)
        with self._identity.operation(Kind.UPSERT, _revisions(made), due=due) as (_, answered):
            answered.version = (await self._client.upsert(map(message, made))).corpus_version
        return answered.version

    async def delete(self, document_id: str, *, due: float | None = None) -> int:
        """Returns the corpus version."""
        gone = [Revision(document_id, None)]
        with self._identity.operation(Kind.DELETE, gone, due=due) as (_, answered):
            answered.version = (await self._client.delete([document_id])).corpus_version
        return answered.version

    async def get(self, document_id: str) -> Seen | None:
        """None if there is no such document."""
        with self._identity.operation(Kind.GET, [Revision(document_id, None)]) as (_, answered):
            try:
                return _got(answered, await self._client.get(document_id))
            except NotFound:
                return None


class BlockingRecordedClient:
    """What tests of whole clusters use."""

    def __init__(self, identity: Identity, client: Client) -> None:
        self._identity = identity
        self._client = client

    def search(
        self, question: str, sought: Revision, *, limit: int = 10, at_least: int = 0
    ) -> RetrievePassagesResponse:
        """:param sought: whose words the question is made of."""
        with self._identity.operation(Kind.SEARCH, [sought], at_least=at_least) as (_, answered):
            found = self._client.search(question, limit=limit, at_least_version=at_least)
            _passages(answered, found)
        return found

    def upsert(self, documents: Iterable[Document]) -> int:
        """Returns the corpus version."""
        made = list(documents)
        with self._identity.operation(Kind.UPSERT, _revisions(made)) as (_, answered):
            answered.version = self._client.upsert(map(message, made)).corpus_version
        return answered.version

    def delete(self, document_id: str) -> int:
        """Returns the corpus version."""
        with self._identity.operation(Kind.DELETE, [Revision(document_id, None)]) as (_, answered):
            answered.version = self._client.delete([document_id]).corpus_version
        return answered.version

    def get(self, document_id: str) -> Seen | None:
        """None if there is no such document."""
        with self._identity.operation(Kind.GET, [Revision(document_id, None)]) as (_, answered):
            try:
                return _got(answered, self._client.get(document_id))
            except NotFound:
                return None


def _revisions(made: Iterable[Document]) -> list[Revision]:
    return [Revision(each.id, revision_of(each.metadata)) for each in made]


def _passages(answered: Answered, found: RetrievePassagesResponse) -> None:
    answered.index(found.index_version, (each.passage for each in found.passages))
    answered.scores = _digest(found.passages)


def _got(answered: Answered, found: GetDocumentResponse) -> Seen:
    document = found.document
    seen = Seen(document.id, found.document_version, revision_of(document.metadata))
    answered.seen = (seen,)
    return seen


def _digest(messages: Iterable[object]) -> str:
    """Of everything that the models said."""
    return hashlib.sha256("\n".join(map(str, messages)).encode()).hexdigest()[:16]

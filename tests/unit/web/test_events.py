"""The index as server-sent events."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing

import pytest

from services.web import events as module
from services.web.events import PATH as EVENTS
from tests.unit.gateway.site import NOWHERE, PATIENCE, until
from tests.unit.web.place import Place, events, serving


async def pause(place: Place, paused: bool) -> None:
    place.indexer.paused = paused
    async with place.indexer.changed:
        place.indexer.changed.notify_all()


async def test_the_status_comes_now_and_at_every_change(place: Place) -> None:
    async with place.http.stream("GET", EVENTS) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with aclosing(events(answer)) as stream, asyncio.timeout(PATIENCE):
            first = await anext(stream)
            assert (first.name, first.data["status"]["paused"]) == ("status", False)
            assert place.value("realm_web_event_streams") == 1
            await pause(place, True)
            assert (await anext(stream)).data["status"]["paused"] is True
    await until(lambda: place.value("realm_web_event_streams") == 0, "the end of the stream")


async def test_a_silent_stream_is_kept_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    async with place.http.stream("GET", EVENTS) as answer, asyncio.timeout(PATIENCE):
        beats = (line async for line in answer.aiter_lines() if line.startswith(":"))
        async with aclosing(beats):
            assert [await anext(beats) for _ in range(3)] == [": still here"] * 3


async def test_streams_are_bounded(place: Place) -> None:
    async with (
        serving(f"127.0.0.1:{place.site.gateway.port}", web_streams=1) as (_, http, _),
        http.stream("GET", EVENTS),
    ):
        refused = await http.get(EVENTS)
        assert (refused.status_code, refused.json()["code"]) == (429, 8)
        assert refused.headers["retry-after"]


async def test_what_cannot_begin_is_an_error_of_the_request() -> None:
    async with serving(NOWHERE) as (_, http, _):
        answer = await http.get(EVENTS)
        assert (answer.status_code, answer.json()["code"]) == (503, 14)


async def test_streams_end_with_the_service(place: Place) -> None:
    async with place.http.stream("GET", EVENTS) as answer, asyncio.timeout(PATIENCE):
        place.service.stop()
        assert b"event: status" in await answer.aread()


async def test_a_caller_who_leaves_ends_the_work(place: Place) -> None:
    place.site.world.search.gate = asyncio.Event()
    asking = asyncio.create_task(place.http.post("/v1/search", json={"question": "where?"}))
    await until(lambda: place.site.world.search.waiting == 1, "the search")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    labels = {"method": "POST", "route": "/v1/search", "status": "499"}
    await until(lambda: place.value("realm_web_requests_total", **labels) == 1, "its end")
    await until(lambda: ended(place) == 1, "the end of the gateway's call")


def ended(place: Place) -> float | None:
    return place.site.value(
        "grpc_server_handled_total",
        grpc_type="unary",
        grpc_service="realm.v1.RetrievalService",
        grpc_method="RetrievePassages",
        grpc_code="Canceled",
    )


async def test_requests_that_run_end_before_the_service_does(place: Place) -> None:
    gate = place.site.world.search.gate = asyncio.Event()
    asking = asyncio.create_task(place.http.post("/v1/search", json={"question": "where?"}))
    await until(lambda: place.site.world.search.waiting == 1, "the search")
    place.service.stop()
    await until(lambda: not listens(place.service.port), "the end of listening")
    gate.set()
    assert (await asking).status_code == 200


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

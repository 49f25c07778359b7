"""Health checks on a port of their own."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]
from grpc_health.v1.health_pb2 import HealthCheckResponse

from realm.errors import BadSettings
from realm.process.health import HealthListener

SECONDS = 20.0
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def test_it_says_what_the_process_says_and_answers_nothing_else() -> None:
    states = health_aio.HealthServicer()
    listener = HealthListener("127.0.0.1:0", states)
    await listener.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            asked = health_pb2.HealthCheckRequest(service="ready")
            for status in (SERVING, NOT_SERVING, SERVING):
                await states.set("ready", status)
                assert (await stub.Check(asked, timeout=SECONDS)).status == status
            other = channel.unary_unary("/realm.v1.RetrievalService/RetrievePassages", None, None)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await other(b"", timeout=SECONDS)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await listener.stop()


async def test_without_an_address_there_is_none() -> None:
    listener = HealthListener("", health_aio.HealthServicer())
    await listener.start()
    await listener.stop()
    assert listener.port == 0


async def test_an_address_in_use_is_named_with_its_setting() -> None:
    states = health_aio.HealthServicer()
    first = HealthListener("127.0.0.1:0", states)
    await first.start()
    try:
        with pytest.raises(BadSettings, match="REALM_HEALTH_LISTEN"):
            HealthListener(f"127.0.0.1:{first.port}", states)
    finally:
        await first.stop()

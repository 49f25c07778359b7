from __future__ import annotations

import asyncio

import grpc
import numpy as np
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.chaos.oracle import Oracle, faults_of
from bench.chaos.readiness import ReadinessMonitor
from bench.points import Points
from realm.corpus.passages import Passage


def passage(name: str) -> Passage:
    return Passage(name, "d", 1, 0, 0, 1, "", "t", [], [], "h")


def test_the_oracle_names_what_a_collection_lacks_and_has_too_much() -> None:
    vectors = np.eye(3, dtype=np.float32)
    oracle = Oracle([passage("a"), passage("b"), passage("c")], vectors, vectors, 1.0)
    whole = Points(["a", "b", "c"], ["{}"] * 3, vectors, [[]] * 3)
    assert faults_of(oracle, whole) == []
    other = Points(["b", "c", "x"], ["{}"] * 3, vectors, [[]] * 3)
    assert faults_of(oracle, other) == [
        "holds another vector of b",
        "holds another vector of c",
        "holds x, which is in no document",
        "lacks a",
    ]


async def test_the_monitor_finds_a_gateway_that_came_back() -> None:
    server, port = await serve(0)
    monitor = ReadinessMonitor([f"127.0.0.1:{port}"])
    asking = asyncio.create_task(monitor.run())
    try:
        async with asyncio.timeout(20):
            await more(monitor)
            await server.stop(None)
            server, _ = await serve(port)
            await more(monitor)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await server.stop(None)


async def more(monitor: ReadinessMonitor) -> None:
    seen = len(monitor.ready[0])
    while len(monitor.ready[0]) == seen:
        await asyncio.sleep(0.01)


async def serve(port: int) -> tuple[grpc.aio.Server, int]:
    """A gateway's health, and nothing else of it."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health = health_aio.HealthServicer()
    await health.set("ready", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    found = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, found

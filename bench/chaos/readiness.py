"""When each gateway was ready, as its health says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PAUSE_SECONDS = 0.2
TIMEOUT_SECONDS = 2.0
#: Channels to one address share their connection, and its back-off, unless told not to.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class ReadinessMonitor:
    """Polls the gateways; `ready` holds, by gateway, the times of polls that found it ready."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.ready: list[list[float]] = [[] for _ in addresses]
        self._addresses = addresses

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*map(self._watch, range(len(self._addresses))))

    async def _watch(self, gateway: int) -> None:
        request = health_pb2.HealthCheckRequest(service="ready")
        while True:
            asked = time.time()
            try:
                # A new channel each time: one that was refused waits before it tries again.
                async with grpc.aio.insecure_channel(
                    self._addresses[gateway], OWN_CONNECTION
                ) as channel:
                    stub = health_pb2_grpc.HealthStub(channel)
                    found = await stub.Check(request, timeout=TIMEOUT_SECONDS)
                if found.status == health_pb2.HealthCheckResponse.SERVING:
                    self.ready[gateway].append(asked)
            except grpc.RpcError:
                pass
            await asyncio.sleep(PAUSE_SECONDS)

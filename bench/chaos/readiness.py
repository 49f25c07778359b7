"""When each gateway was ready, as its health says, and so how long a fault kept it down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.chaos.faults.kinds import Fault
from bench.history.events import Excuse
from bench.history.promises import Promise
from realm.client.wire import RECONNECT_MS

PAUSE_SECONDS = 0.2
TIMEOUT_SECONDS = 2.0
#: Channels to one address share their connection, and its back-off, unless told not to.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
#: The longest that a refused client waits before it reconnects: its back-off and a fifth jitter.
RECONNECT_SECONDS = 1.2 * RECONNECT_MS / 1000


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


def outage_excuses(
    faults: Iterable[Fault], names: Sequence[str], ready: list[list[float]]
) -> list[Excuse]:
    """Requests may fail at a gateway that a fault hit until it is ready again, and until its client
    has reconnected."""
    found = []
    for fault in faults:
        for name in fault.effects.processes.intersection(names):
            gateway = names.index(name)
            back = min((at for at in ready[gateway] if at > fault.ended), default=None)
            why = f"gateway {gateway} was down"
            found.append(Excuse(Promise.AVAILABLE, fault.began, back, why, gateway))
            if back is not None:
                why = f"the client of gateway {gateway} had not reconnected"
                until = back + RECONNECT_SECONDS
                found.append(Excuse(Promise.AVAILABLE, back, until, why, gateway))
    return found

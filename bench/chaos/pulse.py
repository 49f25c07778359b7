"""When each gateway was ready, as its health said; and so when a fault had left it dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.chaos.faults import Done, Kind
from realm.client.wire import RECONNECT_MS

PAUSE_SECONDS = 0.2
TIMEOUT_SECONDS = 2.0
#: Channels to one address share their connection, and its pauses, unless told not to.
ALONE = [("grpc.use_local_subchannel_pool", 1)]
#: A client that was refused connects again after so long at the latest, a fifth of it by chance.
RECONNECT_SECONDS = 1.2 * RECONNECT_MS / 1000


@dataclass(frozen=True, slots=True)
class Death:
    """A gateway's, from the fault until it was ready again, and until every client had found it
    again. Unix times."""

    gateway: int
    began: float
    ended: float
    found: float


class Pulse:
    """Asks all along; `ready` holds, by gateway, when one that was ready was asked."""

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
                # A channel of its own each time: none that has been refused waits before it tries.
                async with grpc.aio.insecure_channel(self._addresses[gateway], ALONE) as channel:
                    stub = health_pb2_grpc.HealthStub(channel)
                    found = await stub.Check(request, timeout=TIMEOUT_SECONDS)
                if found.status == health_pb2.HealthCheckResponse.SERVING:
                    self.ready[gateway].append(asked)
            except grpc.RpcError:
                pass
            await asyncio.sleep(PAUSE_SECONDS)


def deaths(faults: Iterable[Done], names: Sequence[str], ready: list[list[float]]) -> list[Death]:
    """The kills and stops of gateways, each until the gateway was ready again."""
    found = []
    for fault in faults:
        if fault.target in names and fault.kind in (Kind.KILL, Kind.STOP):
            gateway = names.index(fault.target)
            back = (at for at in ready[gateway] if at > fault.ended)
            ended = min(back, default=float("inf"))
            found.append(Death(gateway, fault.began, ended, ended + RECONNECT_SECONDS))
    return found


def was_dead(deaths: Iterable[Death], gateway: int, sent: float, done: float) -> bool:
    """Whether the gateway was dead at some moment between the two."""
    return any(
        each.gateway == gateway and each.began <= done and sent <= each.ended for each in deaths
    )


def was_unfound(deaths: Iterable[Death], gateway: int, sent: float) -> bool:
    """Whether a call was sent to a gateway that was back, but not yet found again by its client."""
    return any(each.gateway == gateway and each.ended < sent <= each.found for each in deaths)

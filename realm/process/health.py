"""Health checks at an address of their own, in plaintext: a kubelet's probes speak no TLS, and a
server that refuses calls under load would refuse theirs.
"""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from realm.client.wire import server_options
from realm.errors import BadSettings


def add_health_port(server: Any, health: Any, address: str) -> int:
    """The port at which a server (of either kind of gRPC's) answers health checks, nothing else.

    :param health: the servicer that the process's own port has too.
    :raises BadSettings: if the address cannot be listened on.
    """
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise BadSettings(
            f"health checks cannot listen on {address} ({error}): free the port or set"
            " REALM_HEALTH_LISTEN"
        ) from error


class HealthListener:
    """A server for health checks alone; none without an address."""

    def __init__(self, address: str, health: Any) -> None:
        """:raises BadSettings: if the address cannot be listened on."""
        self.port = 0
        self._server = grpc.aio.server(options=server_options()) if address else None
        if self._server is not None:
            self.port = add_health_port(self._server, health, address)

    async def start(self) -> None:
        if self._server is not None:
            await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

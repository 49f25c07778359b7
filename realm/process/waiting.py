"""Waiting for the store: the process listens already, alive and not ready.

Its health is SERVING for `live`, lest a cluster restart a process that only waits, and NOT_SERVING
for all other names; every other call is UNAVAILABLE.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from realm.client.wire import server_options, to_trailers
from realm.errors import BadSettings, NotReady
from realm.process.health import add_health_port
from realm.process.listening import add_port
from realm.process.rpc import LIVE_NAME
from realm.records.store import Store, local_root
from realm.settings import Settings

if TYPE_CHECKING:
    Handler = grpc.GenericRpcHandler[bytes, bytes]
    Method = grpc.RpcMethodHandler[bytes, bytes]
else:  # generic in their stubs alone
    Handler, Method = grpc.GenericRpcHandler, grpc.RpcMethodHandler

THREADS = 4
FREE_SECONDS = 5.0

log = structlog.get_logger(__name__)


def await_store(settings: Settings, address: str, names: Iterable[str]) -> Store:
    """Opens the store, and answers health checks at `address` meanwhile. A folder exists at once or
    never.

    :param names: health names besides "".
    :raises BadSettings: if the store is unusable, or the address cannot be listened on.
    """
    if local_root(settings.addresses.store_url):
        return Store.await_open(settings.addresses.store_url, settings.addresses.store_cache)
    with _listening(settings, address, names):
        return Store.await_open(settings.addresses.store_url, settings.addresses.store_cache)


class _NotReady(Handler):
    """Refuses every call that no other handler takes."""

    def service(self, _details: grpc.HandlerCallDetails) -> Method:
        def refuse(_requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            error = NotReady("this process waits for its store: try again")
            context.set_trailing_metadata(to_trailers(error))
            context.abort(grpc.StatusCode[error.code], error.message)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)


@contextmanager
def _listening(settings: Settings, address: str, names: Iterable[str]) -> Iterator[None]:
    status = health.HealthServicer()
    status.set(LIVE_NAME, HealthCheckResponse.SERVING)
    for name in ("", *names):
        status.set(name, HealthCheckResponse.NOT_SERVING)
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="waiting")
    server = grpc.server(threads, options=server_options())
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    server.add_generic_rpc_handlers((_NotReady(),))
    try:
        add_port(server, settings.access, address)
    except RuntimeError as error:
        raise BadSettings(
            f"cannot listen on {address} ({error}): free the port or set another"
        ) from error
    servers = {address: server}
    if probed := settings.addresses.health_listen:
        servers[probed] = grpc.server(threads, options=server_options())
        add_health_port(servers[probed], status, probed)
    for each in servers.values():
        each.start()
    log.info("waiting_for_store", listen=address)
    try:
        yield
    finally:
        for ended in [each.stop(None) for each in servers.values()]:
            ended.wait()
        threads.shutdown(wait=False, cancel_futures=True)
        addresses = list(servers)
        del server, servers, each
        for freed in addresses:
            _await_free(freed)


@retry(
    retry=retry_if_exception_type(OSError),
    stop=stop_after_delay(FREE_SECONDS),
    wait=wait_fixed(0.02),
    retry_error_callback=lambda _: None,
)
def _await_free(address: str) -> None:
    """gRPC closes a listening socket a moment after its server stopped; the next one needs it."""
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)

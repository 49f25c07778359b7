"""The web service: its parts put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from prometheus_client import REGISTRY, CollectorRegistry

from realm.client import AsyncClient, Tls
from realm.client.wire import HTTPS
from realm.errors import BadSettings
from realm.process.listening import check_exposure
from realm.settings import Settings
from realm.settings.access import Access
from services.web import call
from services.web.app import Api, make_app
from services.web.bodies import Bodies
from services.web.chat import Chat
from services.web.events import Events
from services.web.generation import LanguageModel
from services.web.mcp import McpEndpoint
from services.web.metrics import WebMetrics
from services.web.middleware import Calls
from services.web.tls import Contexts

MOST_CONNECTIONS = 1024
KEEP_ALIVE_SECONDS = 75

log = structlog.get_logger(__name__)


class WebService:
    """`port` is the one it listens on, also if the setting is 0."""

    def __init__(self, settings: Settings, registry: CollectorRegistry = REGISTRY) -> None:
        """:raises BadSettings: if the address cannot be listened on."""
        access, web = settings.access, settings.web
        check_exposure(access, web.listen, keys=access.require_keys)
        self._socket = _listen(web.listen)
        self.port: int = self._socket.getsockname()[1]
        self._client = make_client(settings)
        metrics = WebMetrics(registry)
        self._events = Events(self._client, web.streams, metrics.streams)
        self._ending = False
        bodies = Bodies(settings.corpus.write_memory_bytes)
        api = Api(self._client, self._events, bodies, web.timeout_seconds)
        self._language_model = LanguageModel(web) if web.llm_url else None
        chat = Chat(api.ask, bodies, self._language_model, web.timeout_seconds)
        mcp = McpEndpoint(self._client, require_keys=access.require_keys)
        self.app = make_app(api, chat, mcp, lambda: not self._ending)
        calls = Calls(
            self.app,
            metrics,
            None if access.require_keys else frozenset(web.hosts.replace(",", " ").split()),
        )
        self._server = _Server(
            uvicorn.Config(
                calls,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(settings.gateway.drain_seconds)),
                ssl_context_factory=_tls(access),
            )
        )

    async def serve(self) -> None:
        """Until `stop`."""
        log.info("web_listening", port=self.port)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()
            await self._client.close()
            if self._language_model is not None:
                await self._language_model.close()
        log.info("web_stopped")

    def stop(self) -> None:
        """Becomes unready, takes nothing new, ends the events, gives requests time to end."""
        self._ending = True
        self._events.end()
        self._server.should_exit = True


def make_client(settings: Settings) -> AsyncClient:
    """Calls the gateway as whoever calls us."""
    access, address = settings.access, settings.addresses.gateway_address
    tls = Tls(access.tls_authority, access.tls_certificate, access.tls_private_key)
    return AsyncClient(
        address,
        key=call.key,
        tls=tls if address.startswith(HTTPS) else None,
        insecure=access.insecure,
        metadata=call.metadata,
    )


class _Server(uvicorn.Server):
    """Signals are our process's own matter."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _tls(access: Access) -> Any:
    """None for plaintext."""
    if not access.tls_certificate:
        return None
    contexts = Contexts(access)
    return lambda _config, _default: contexts.newest


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if not 0 <= int(port) <= 65535:
            raise ValueError("there is no such port")
        return socket.create_server((host, int(port)), family=family, backlog=1024)
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"the web service cannot listen on {address} ({error}): free the port or set"
            " REALM_WEB_LISTEN"
        ) from error


async def run(service: WebService, stop: asyncio.Event) -> None:
    """Serves until `stop` is set."""
    serving = asyncio.create_task(service.serve())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    service.stop()
    await serving

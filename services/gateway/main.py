"""The gateway's process: puts its parts together, serves, and ends without failing a request."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as aio_health
from grpc_reflection.v1alpha import reflection
from prometheus_client import REGISTRY, CollectorRegistry

from realm import telemetry
from realm.errors import BadSettings
from realm.model.runtime import DeviceSetting, best_dtype, pick_device, set_threads
from realm.rpc import ErrorInterceptor, MetricsInterceptor, channel_options, server_options
from realm.search.qdrant import AsyncPassageSearch
from realm.settings import Settings, load_settings
from realm.store import Store
from realm.v1 import (
    answer_pb2,
    answer_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    index_pb2,
    index_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
)
from services.gateway.answering import Answering, PassageSearch
from services.gateway.closing import Closing
from services.gateway.forwarding import CorpusServicer, Forwarder, IndexServicer
from services.gateway.metrics import GatewayMetrics
from services.gateway.reporting import Reporter
from services.gateway.serving import ServingSlot
from services.gateway.servicers import AnswerServicer, RetrievalServicer
from services.gateway.status import LocalStatus
from services.gateway.watcher import LiveWatcher

log = structlog.get_logger(__name__)

#: Health names: "" and "ready" say whether questions are welcome, "live" that the loop runs.
READY_NAMES = ("", "ready")
LIVE_NAME = "live"
SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (retrieval_pb2, "RetrievalService"),
        (answer_pb2, "AnswerService"),
        (corpus_pb2, "CorpusService"),
        (index_pb2, "IndexService"),
    )
)


class Gateway:
    """Everything a gateway is made of, started and stopped in order."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        search: PassageSearch,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """:raises BadSettings: if the address cannot be listened on."""
        device = pick_device(cast(DeviceSetting, settings.device))
        self._settings = settings
        self._closing = Closing()
        self._health = aio_health.HealthServicer()
        self._channel = grpc.aio.insecure_channel(settings.indexer_url, options=channel_options())
        self.slot = ServingSlot()
        self.metrics = GatewayMetrics(registry)
        self._ready: bool | None = None
        self._reporter: Reporter
        self.watcher = LiveWatcher(
            settings,
            store,
            self.slot,
            self.metrics,
            device=device,
            dtype=best_dtype(device),
            on_change=self._changed,
        )
        self.answering = Answering(settings, self.slot, search, self.metrics)
        self._server = grpc.aio.server(
            interceptors=[MetricsInterceptor(registry), ErrorInterceptor()],
            options=server_options(),
        )
        self.port = _listen(self._server, settings.gateway_listen)
        self.gateway_id = f"{socket.gethostname()}-{os.getpid()}-{self.port}"
        self._reporter = Reporter(
            settings, self._channel, self.slot, self.watcher, self.gateway_id
        )
        self._register(store)
        self._tasks: list[asyncio.Task[None]] = []
        self._reported: int | None = None

    async def start(self) -> None:
        await self._health.set(LIVE_NAME, health_pb2.HealthCheckResponse.SERVING)
        for name in READY_NAMES:
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self.answering.__aenter__()
        await self._server.start()
        for each in (self.watcher.run(), self.watcher.listen(), self._reporter.run()):
            self._spawn(each)
        self._spawn(self._tell_health())
        log.info("gateway_listening", address=self._settings.gateway_listen, port=self.port)

    async def stop(self) -> None:
        """Unready first, then no new requests, then up to `drain_seconds` for those begun."""
        log.info("gateway_draining", seconds=self._settings.drain_seconds)
        await self._health.enter_graceful_shutdown()
        self._closing.begin()
        self.slot.close()
        await self._server.stop(self._settings.drain_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reporter.say_goodbye()
        await self.answering.__aexit__()
        await self._channel.close()
        log.info("gateway_stopped")

    async def failed(self) -> None:
        """Returns, by raising, when a part of the gateway ended that never should."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def _register(self, store: Store) -> None:
        forwarder = Forwarder(self._settings, self._channel)
        local = LocalStatus(store, self.slot, self.gateway_id)
        server = self._server
        retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(
            RetrievalServicer(self.answering), server
        )
        answer_pb2_grpc.add_AnswerServiceServicer_to_server(
            AnswerServicer(self.answering, self._closing), server
        )
        corpus_pb2_grpc.add_CorpusServiceServicer_to_server(
            CorpusServicer(self._settings, forwarder), server
        )
        index_pb2_grpc.add_IndexServiceServicer_to_server(
            IndexServicer(forwarder, local, self._closing), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)

    def _changed(self) -> None:
        """Called by the watcher after each look and each flip."""
        current = self.slot.current
        number = current.number if current else 0
        if number != self._reported or self.watcher.ready != self._ready:
            self._reported = number
            self._ready_changed.set()
            self._reporter.wake()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

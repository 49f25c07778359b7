"""A gateway: its parts put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from prometheus_client import REGISTRY, CollectorRegistry

from realm.access.guard import AccessInterceptor, Callers
from realm.access.key_ring import KeyRing
from realm.client.wire import server_options
from realm.errors import BadSettings
from realm.model.runtime import best_dtype, pick_device
from realm.process.health import HealthListener
from realm.process.listening import add_port, check_exposure
from realm.process.rpc import LIVE_NAME, CallInterceptor, ErrorInterceptor, MetricsInterceptor
from realm.process.write_memory import WriteInterceptor
from realm.records.store import Store
from realm.search.vector_index import VectorSearch
from realm.settings import Settings
from realm.v1 import answer_pb2_grpc, corpus_pb2_grpc, index_pb2_grpc, retrieval_pb2_grpc
from services.gateway.admission.limits import Limit
from services.gateway.answering import Answering
from services.gateway.bulk import QuestionStreams
from services.gateway.forwarding import CorpusServicer, IndexServicer, LocalStatus
from services.gateway.leader import Forwarder, LeaderChannel
from services.gateway.loading import Loader, NamedGenerations
from services.gateway.metrics import GatewayMetrics
from services.gateway.newest_version import NewestVersion
from services.gateway.reporting import QuestionRecorder, SearchSampler, ServingReporter
from services.gateway.servicers import AnswerServicer, RetrievalServicer
from services.gateway.serving import ServingSlot
from services.gateway.view import StoreView
from services.gateway.waiting import Shutdown, end_tasks, wait_for_event
from services.gateway.watcher import LiveWatcher

log = structlog.get_logger(__name__)

#: Health names for questions: something is served.
READY_NAMES = ("", "ready", "realm.v1.RetrievalService", "realm.v1.AnswerService")
#: Health names for writes: the leading indexer takes this gateway's reports.
FORWARDED_NAMES = ("realm.v1.CorpusService", "realm.v1.IndexService")
HEALTH_NAMES = (*READY_NAMES, *FORWARDED_NAMES)
SERVICES = (
    *(name for name in HEALTH_NAMES if name.startswith("realm.")),
    "grpc.health.v1.Health",
    reflection.SERVICE_NAME,
)


class Gateway:
    """`port` is the one it listens on, also if the setting is 0."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        search: VectorSearch,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """:raises BadSettings: if the address cannot be listened on."""
        device = pick_device(settings.process.device)
        self._settings = settings
        self._shutdown = Shutdown()
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._last_state: tuple[int, bool] | None = None
        self._state_changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._leader = LeaderChannel(settings.addresses.indexer_url, settings.access)
        self._key_ring = KeyRing(store) if settings.access.require_keys else None
        self._server = self._make_server(registry)
        self.port = _listen(self._server, settings)
        self.probed = HealthListener(settings.addresses.health_listen, self._health)
        self.gateway_id = f"{socket.gethostname()}-{os.getpid()}-{self.port}"
        self.slot = ServingSlot()
        self.metrics = GatewayMetrics(registry)
        search.watch_peers(self.metrics.note_peer)
        view = StoreView(store)
        loader = Loader(view, device=device, dtype=best_dtype(device))
        self._named = NamedGenerations(view, self.slot, loader)
        self.watcher = LiveWatcher(
            settings,
            view,
            self.slot,
            loader,
            self.metrics,
            on_change=self._on_state_change,
            on_leader=self._follow_leader,
        )
        self._answering = Answering(
            settings, self.slot, self._named, search, self.metrics, NewestVersion(store)
        )
        self._recorder = QuestionRecorder(settings)
        self._searches = SearchSampler(settings)
        self._reporter = ServingReporter(
            self._leader,
            self.slot,
            self._recorder,
            self._searches,
            gateway_id=self.gateway_id,
            pause_seconds=settings.gateway.report_seconds,
            is_ready=lambda: self.ready,
        )
        self._register(LocalStatus(store, self.slot, self.gateway_id))

    @property
    def ready(self) -> bool:
        """Something is served, and the models do not stall."""
        stalled = self._answering.stalled_seconds > self._settings.gateway.compute_stall_seconds
        return self.watcher.ready and not stalled

    async def start(self) -> None:
        await self._health.set(LIVE_NAME, HealthCheckResponse.SERVING)
        for name in HEALTH_NAMES:
            await self._set_health(name, False)
        await self.probed.start()
        if self._key_ring is not None:
            self._spawn("keys", self._key_ring.follow(self._settings.access.keys_poll_seconds))
        await self._answering.__aenter__()
        await self._server.start()
        self._spawn("watch", self.watcher.run())
        self._spawn("wakeups", self.watcher.listen_for_wakeups())
        self._spawn("reports", self._reporter.run())
        self._spawn("health", self._update_health())
        log.info(
            "gateway_listening", address=self._settings.addresses.gateway_listen, port=self.port
        )

    async def failed(self) -> None:
        """Returns when a task ended that never should; the log says why."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = None if task.cancelled() else task.exception()
            log.critical("task_died", task=task.get_name(), why=repr(error), exc_info=error)

    async def stop(self) -> None:
        """Becomes unready, takes nothing new, and gives requests `drain_seconds` to end.

        A second call does nothing.
        """
        if self._shutdown.begun:
            return
        self._shutdown.begin()
        log.info("gateway_draining", seconds=self._settings.gateway.drain_seconds)
        await self._health.enter_graceful_shutdown()
        self.slot.close()
        await self._server.stop(self._settings.gateway.drain_seconds)
        await end_tasks(self._tasks)
        await self._named.close()
        await self._answering.__aexit__()
        await self._reporter.report_stopping()
        await self._leader.close()
        await self.probed.stop()
        log.info("gateway_stopped")

    def _make_server(self, registry: CollectorRegistry) -> grpc.aio.Server:
        interceptors: list[Any] = [
            CallInterceptor(),
            MetricsInterceptor(registry),
            ErrorInterceptor(),
        ]
        if self._key_ring is not None:
            callers = Callers.of(self._settings.access, self._key_ring)
            interceptors.append(AccessInterceptor(callers))
        interceptors.append(WriteInterceptor(self._settings.corpus.write_memory_bytes))
        return grpc.aio.server(interceptors=interceptors, options=server_options())

    def _register(self, local: LocalStatus) -> None:
        forwarder = Forwarder(self._leader, self._settings.gateway.leader_wait_seconds)
        most = self._settings.gateway.max_streams
        streams = QuestionStreams(self._shutdown, most)
        retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(
            RetrievalServicer(self._answering, streams, self._searches), self._server
        )
        answer_pb2_grpc.add_AnswerServiceServicer_to_server(
            AnswerServicer(self._answering, streams, self._recorder, self._searches), self._server
        )
        corpus_pb2_grpc.add_CorpusServiceServicer_to_server(
            CorpusServicer(
                forwarder,
                self._shutdown,
                self._settings.corpus.max_document_bytes,
                Limit("imports", most),
            ),
            self._server,
        )
        index_pb2_grpc.add_IndexServiceServicer_to_server(
            IndexServicer(forwarder, local, self._shutdown, Limit("watches", most)), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(SERVICES, self._server)

    def _follow_leader(self, address: str) -> None:
        """Reports at once to a new leader, which does not know this gateway yet."""
        before = self._leader.address
        self._leader.connect(address)
        if self._leader.address != before:
            self._reporter.wake()

    def _on_state_change(self) -> None:
        """Called after each poll and each flip; passes changes on to health and indexer."""
        current = self.slot.current
        found = (current.number if current else 0, self.ready)
        if found != self._last_state:
            self._last_state = found
            self._state_changed.set()
            self._reporter.wake()

    async def _update_health(self) -> None:
        """Polls too: stalled models and a lost collection make the gateway unready without any
        change of state."""
        shown = dict.fromkeys(HEALTH_NAMES, False)
        while True:
            await wait_for_event(self._state_changed, self._settings.gateway.live_poll_seconds)
            self._state_changed.clear()
            await self._answering.recheck_lost_collection()
            now = {
                **dict.fromkeys(READY_NAMES, self.ready),
                **dict.fromkeys(FORWARDED_NAMES, self._reporter.acknowledged is True),
            }
            for name in HEALTH_NAMES:
                if now[name] != shown[name]:
                    await self._set_health(name, now[name])
            if now["ready"] != shown["ready"]:
                log.info(
                    "readiness_changed",
                    ready=now["ready"],
                    stalled_seconds=round(self._answering.stalled_seconds, 1),
                )
                self._reporter.wake()
            shown = now

    async def _set_health(self, name: str, serving: bool) -> None:
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        await self._health.set(name, status)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))


def _listen(server: grpc.aio.Server, settings: Settings) -> int:
    address = settings.addresses.gateway_listen
    check_exposure(settings.access, address, keys=settings.access.require_keys)
    try:
        return add_port(server, settings.access, address)
    except RuntimeError as error:
        raise BadSettings(
            f"the gateway cannot listen on {address}: free the port or set REALM_GATEWAY_LISTEN"
        ) from error

"""The indexer process: stands by until it is elected, then leads; one gRPC server.

Health: `""` and the services are SERVING while it leads. `live` is SERVING while its parts work;
`able` while it also could lead if it had to, which a cluster asks before it moves another pod.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from realm.access.guard import AccessInterceptor, Services
from realm.client.wire import server_options
from realm.errors import BadSettings, RealmError
from realm.internal.v1 import serving_pb2, serving_pb2_grpc
from realm.process import memory, telemetry
from realm.process.health import HealthListener
from realm.process.listening import add_port, check_exposure
from realm.process.rpc import (
    LIVE_NAME,
    AroundInterceptor,
    CallInterceptor,
    ErrorInterceptor,
    MetricsInterceptor,
)
from realm.process.signals import exit_on_sigterm, stop_signals
from realm.process.threads import exit_or_kill_after
from realm.process.waiting import await_store
from realm.process.write_memory import WriteInterceptor
from realm.settings import Settings, load_settings
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc
from services.indexer.indexer import Indexer
from services.indexer.leader.election import Election
from services.indexer.metrics import IndexerMetrics
from services.indexer.servicers import CorpusServicer, IndexServicer, ServingReportServicer

CALL_THREADS = 16
#: Health names that are SERVING while this process leads.
LEADING_NAMES = (
    "",
    corpus_pb2.DESCRIPTOR.services_by_name["CorpusService"].full_name,
    index_pb2.DESCRIPTOR.services_by_name["IndexService"].full_name,
    serving_pb2.DESCRIPTOR.services_by_name["ServingReportService"].full_name,
)
ABLE_NAME = "able"
POLL_SECONDS = 0.2
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class LeaderLifecycle:
    """Follows the election on the event loop, starts the indexer when it leads, reports health."""

    def __init__(self, indexer: Indexer, election: Election) -> None:
        self.health = health_aio.HealthServicer()
        self.leads = False
        self._indexer = indexer
        self._election = election

    async def start(self) -> None:
        """Looks at the election once, so that a lone indexer leads before it listens."""
        await self._set_health((LIVE_NAME, ABLE_NAME), serving=True)
        await self._set_health(LEADING_NAMES, serving=False)
        try:
            await asyncio.to_thread(self._election.tick)
            await self._lead_if_elected()
        except RealmError as error:
            log.warning("not_leading_yet", why=str(error))
        self._election.start()

    async def run(self, stopped: asyncio.Event) -> str:
        """Why the process must end; empty if `stopped` was set."""
        pause = POLL_SECONDS
        while not stopped.is_set():
            if why := self._failure():
                self.leads = False
                await self._set_health((*LEADING_NAMES, LIVE_NAME, ABLE_NAME), serving=False)
                log.error("indexer_ends", why=why)
                return why
            try:
                await self._lead_if_elected()
                pause = POLL_SECONDS
            except RealmError as error:
                log.warning("not_leading_yet", why=str(error))
                pause = RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await stopped.wait()
            except TimeoutError:
                continue
        return ""

    def stop(self, *, resign: bool) -> None:
        """Ends the threads. Resigns only if they left nothing undone: a standby leads at once."""
        ended = self._indexer.stop()
        self._election.stop(resign=resign and ended)

    def not_leader(self) -> RealmError:
        return self._election.not_leader()

    async def _lead_if_elected(self) -> None:
        if self.leads or not self._election.leads:
            return
        await asyncio.to_thread(self._indexer.start)
        self.leads = True
        await self._set_health(LEADING_NAMES, serving=True)
        log.info("indexer_leads", term=self._election.term)

    def _failure(self) -> str:
        if self._election.lost:
            return "another indexer leads now"
        if not self._election.alive:
            return "the election's thread died"
        if dead := self._indexer.dead_threads():
            return f"a part of it died: {', '.join(dead)}"
        return ""

    async def _set_health(self, names: tuple[str, ...], *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for name in names:
            await self.health.set(name, status.SERVING if serving else status.NOT_SERVING)


class LeaderInterceptor(AroundInterceptor):
    """Refuses calls to a standby, naming the leader; health checks pass. Innermost."""

    def __init__(self, lifecycle: LeaderLifecycle) -> None:
        super().__init__()
        self._lifecycle = lifecycle

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Any) -> AsyncIterator[None]:
        if not method.startswith("/grpc.health.") and not self._lifecycle.leads:
            raise self._lifecycle.not_leader()
        yield


def main() -> None:
    """Runs until SIGTERM.

    Exit code 2 and one sentence if it cannot start; 1 if another indexer leads now, or a part of
    it died: its supervisor restarts it.
    """
    exit_on_sigterm()
    try:
        settings = load_settings()
        telemetry.set_up(settings, "indexer")
        store = await_store(
            settings, settings.addresses.indexer_listen, (ABLE_NAME, *LEADING_NAMES)
        )
        election = Election(settings, store)
        indexer = Indexer(settings, store, IndexerMetrics(), election)
        memory.keep_imports()
        with asyncio.Runner() as runner:
            fit = runner.run(serve(settings, indexer, election))
            exit_or_kill_after(0 if fit else 1)
    except BadSettings as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(2)
    if not fit:
        sys.exit(1)


async def serve(settings: Settings, indexer: Indexer, election: Election) -> bool:
    """Stands by, then leads, until SIGTERM or SIGINT; False if it ended for another reason.

    :raises BadSettings: if it cannot listen on the address.
    """
    executor = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="call")
    lifecycle = LeaderLifecycle(indexer, election)
    stopped = asyncio.Event()
    server = make_server(settings, indexer, lifecycle, executor, stopped)
    probed = HealthListener(settings.addresses.health_listen, lifecycle.health)
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await lifecycle.start()
    await probed.start()
    await server.start()
    address, store = settings.addresses.indexer_listen, indexer.records.store.url
    log.info("indexer_ready", listen=address, store=store)
    why = await lifecycle.run(stopped)
    stopped.set()
    await lifecycle.health.enter_graceful_shutdown()
    await server.stop(settings.gateway.drain_seconds if not why else 0)
    await asyncio.to_thread(lifecycle.stop, resign=not why)
    executor.shutdown(wait=False, cancel_futures=True)
    await probed.stop()
    log.info("indexer_stopped", why=why or "asked to")
    return not why


def make_server(
    settings: Settings,
    indexer: Indexer,
    lifecycle: LeaderLifecycle,
    executor: ThreadPoolExecutor,
    closing: asyncio.Event,
) -> grpc.aio.Server:
    """:raises BadSettings: if it cannot listen on the address."""
    service_key = settings.access.service_key
    server = grpc.aio.server(
        interceptors=[
            CallInterceptor(),
            MetricsInterceptor(REGISTRY),
            ErrorInterceptor(),
            *([AccessInterceptor(Services(service_key))] if service_key else []),
            LeaderInterceptor(lifecycle),
            WriteInterceptor(settings.corpus.write_memory_bytes),
        ],
        options=server_options(),
    )
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(
        CorpusServicer(
            indexer.writer,
            indexer.corpus,
            indexer.listings,
            settings.corpus.max_document_bytes,
            executor,
        ),
        server,
    )
    index_pb2_grpc.add_IndexServiceServicer_to_server(
        IndexServicer(
            status=indexer.status,
            committer=indexer.committer,
            controls=indexer.controls,
            snapshots=indexer.snapshots,
            wake=indexer.wake,
            executor=executor,
            closing=closing,
        ),
        server,
    )
    serving_pb2_grpc.add_ServingReportServiceServicer_to_server(
        ServingReportServicer(indexer.gateways, indexer.recorder, indexer.searches, indexer.wake),
        server,
    )
    health_pb2_grpc.add_HealthServicer_to_server(lifecycle.health, server)
    address = settings.addresses.indexer_listen
    check_exposure(settings.access, address, keys=bool(service_key))
    try:
        add_port(server, settings.access, address)
    except RuntimeError as error:
        raise BadSettings(
            f"the indexer cannot listen on {address} ({error});"
            " free the port or set REALM_INDEXER_LISTEN"
        ) from error
    return server


if __name__ == "__main__":
    main()

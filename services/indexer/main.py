"""The indexer process: settings, store, threads, one gRPC server."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import REGISTRY

from realm.errors import BadSettings
from realm.internal.v1 import serving_pb2_grpc
from realm.process import telemetry
from realm.process.calls import CallInterceptor
from realm.process.rpc import ErrorInterceptor, MetricsInterceptor, server_options
from realm.process.signals import stop_signals
from realm.process.threads import exit_or_kill_after
from realm.process.waiting import await_store
from realm.settings import Settings, load_settings
from realm.v1 import corpus_pb2_grpc, index_pb2_grpc
from services.indexer.indexer import Indexer
from services.indexer.leader.election import Election
from services.indexer.leader.lifecycle import (
    ABLE_NAME,
    LEADING_NAMES,
    LeaderInterceptor,
    LeaderLifecycle,
)
from services.indexer.metrics import IndexerMetrics
from services.indexer.servicers import CorpusServicer, IndexServicer, ServingReportServicer

CALL_THREADS = 16

log = structlog.get_logger(__name__)


def main() -> None:
    """Runs until SIGTERM. Exit code 2 and one sentence if it cannot start, 1 if it must not go on:
    another one leads now, or a part of it died; whoever supervises it starts it anew."""
    try:
        settings = load_settings()
        telemetry.set_up(settings, "indexer")
        store = await_store(
            settings, settings.addresses.indexer_listen, (ABLE_NAME, *LEADING_NAMES)
        )
        election = Election(settings, store)
        indexer = Indexer(settings, store, IndexerMetrics(), election)
        with asyncio.Runner() as runner:
            fit = runner.run(serve(settings, indexer, election))
            exit_or_kill_after(0 if fit else 1)
    except BadSettings as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(2)
    if not fit:
        sys.exit(1)


async def serve(settings: Settings, indexer: Indexer, election: Election) -> bool:
    """Stands by, leads, until SIGTERM or SIGINT; False if it ended for another reason.

    :raises BadSettings: if the address cannot be listened on.
    """
    executor = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="call")
    lifecycle = LeaderLifecycle(indexer, election)
    stopped = asyncio.Event()
    server = make_server(settings, indexer, lifecycle, executor, stopped)
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await lifecycle.begin()
    await server.start()
    log.info("indexer_ready", listen=settings.addresses.indexer_listen, store=indexer.store.url)
    why = await lifecycle.until(stopped)
    stopped.set()
    await lifecycle.health.enter_graceful_shutdown()
    await server.stop(settings.gateway.drain_seconds if not why else 0)
    await asyncio.to_thread(lifecycle.end, resign=not why)
    executor.shutdown(wait=False, cancel_futures=True)
    log.info("indexer_stopped", why=why or "asked to")
    return not why


def make_server(
    settings: Settings,
    indexer: Indexer,
    lifecycle: LeaderLifecycle,
    executor: ThreadPoolExecutor,
    closing: asyncio.Event,
) -> grpc.aio.Server:
    """:raises BadSettings: if the address cannot be listened on."""
    server = grpc.aio.server(
        interceptors=[
            CallInterceptor(),
            MetricsInterceptor(REGISTRY),
            ErrorInterceptor(),
            LeaderInterceptor(lifecycle),
        ],
        options=server_options(),
    )
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(
        CorpusServicer(
            indexer.writer, indexer.corpus, settings.corpus.max_document_bytes, executor
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
        ServingReportServicer(indexer.gateways, indexer.recorder, indexer.wake), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(lifecycle.health, server)
    try:
        server.add_insecure_port(settings.addresses.indexer_listen)
    except RuntimeError as error:
        raise BadSettings(
            f"the indexer cannot listen on {settings.addresses.indexer_listen} ({error});"
            " free the port or set REALM_INDEXER_LISTEN"
        ) from error
    return server

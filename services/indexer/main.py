"""The indexer process: settings, store, threads, one gRPC server."""

from __future__ import annotations

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import structlog
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from realm import telemetry
from realm.errors import BadSettings
from realm.internal.v1 import serving_pb2, serving_pb2_grpc
from realm.rpc import ErrorInterceptor, MetricsInterceptor, server_options
from realm.settings import Settings, load_settings
from realm.store import Store
from realm.v1 import corpus_pb2, corpus_pb2_grpc, index_pb2, index_pb2_grpc
from services.indexer.indexer import Indexer
from services.indexer.metrics import IndexerMetrics
from services.indexer.servicers import CorpusServicer, IndexServicer, ServingReportServicer

CALL_THREADS = 16
SERVICES = (
    corpus_pb2.DESCRIPTOR.services_by_name["CorpusService"].full_name,
    index_pb2.DESCRIPTOR.services_by_name["IndexService"].full_name,
    serving_pb2.DESCRIPTOR.services_by_name["ServingReportService"].full_name,
)

log = structlog.get_logger(__name__)


def main() -> None:
    """Runs until SIGTERM; exit code 2 and one sentence if it cannot start."""
    try:
        settings = load_settings()
        telemetry.set_up(settings, "indexer")
        store = Store.open(settings.store_url, settings.store_cache)
        indexer = Indexer(settings, store, IndexerMetrics())
        asyncio.run(serve(settings, indexer))
    except BadSettings as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(2)


async def serve(settings: Settings, indexer: Indexer) -> None:
    """Serves until SIGTERM or SIGINT.

    :raises BadSettings: if the address cannot be listened on.
    """
    executor = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="call")
    health = health_aio.HealthServicer()
    stopped = asyncio.Event()
    server = make_server(settings, indexer, health, executor, stopped)
    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, stopped.set)
    indexer.start()
    await server.start()
    for service in ("", *SERVICES):
        await health.set(service, health_pb2.HealthCheckResponse.SERVING)
    log.info("indexer_ready", listen=settings.indexer_listen, store=indexer.store.url)
    await stopped.wait()
    await health.enter_graceful_shutdown()
    await server.stop(settings.drain_seconds)
    await asyncio.to_thread(indexer.stop)
    executor.shutdown(wait=False, cancel_futures=True)
    log.info("indexer_stopped")


def make_server(
    settings: Settings,
    indexer: Indexer,
    health: health_aio.HealthServicer,
    executor: ThreadPoolExecutor,
    closing: asyncio.Event,
) -> grpc.aio.Server:
    """:raises BadSettings: if the address cannot be listened on."""
    server = grpc.aio.server(
        interceptors=[MetricsInterceptor(REGISTRY), ErrorInterceptor()],
        options=server_options(),
    )
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(
        CorpusServicer(indexer.writer, indexer.corpus, settings.max_document_bytes, executor),
        server,
    )
    index_pb2_grpc.add_IndexServiceServicer_to_server(
        IndexServicer(
            status=indexer.status,
            committer=indexer.committer,
            controls=indexer.controls,
            snapshots=indexer.snapshots,
            bell=indexer.bell,
            executor=executor,
            closing=closing,
        ),
        server,
    )
    serving_pb2_grpc.add_ServingReportServiceServicer_to_server(
        ServingReportServicer(indexer.gateways, indexer.bell), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    try:
        server.add_insecure_port(settings.indexer_listen)
    except RuntimeError as error:
        raise BadSettings(
            f"the indexer cannot listen on {settings.indexer_listen} ({error});"
            " free the port or set REALM_INDEXER_LISTEN"
        ) from error
    return server

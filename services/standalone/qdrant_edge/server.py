"""The gRPC server: Qdrant's services, health, and the one place that maps errors to statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import grpc
import structlog
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from realm.errors import NotFound, RealmError
from services.standalone.qdrant_edge.protocol import collections, load
from services.standalone.qdrant_edge.registry import Registry
from services.standalone.qdrant_edge.translation import allow_only

log = structlog.get_logger(__name__)

POINTS, COLLECTIONS, ROOT = "qdrant.Points", "qdrant.Collections", "qdrant.Qdrant"
#: The calls of `qdrant.Points` that a collection's process answers.
POINT_CALLS = ("QueryBatch", "Get", "Scroll", "Count", "Upsert", "Delete", "CreateFieldIndex")

OPTIONS = [
    # else a second server would share the port, and half the requests, in silence
    ("grpc.so_reuseport", 0),
    # batches of points are large; Qdrant's clients set no limit either
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # clients ping a silent connection every few seconds; a Qdrant server lets them
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
]

Handler = Callable[[Any, Any], Awaitable[Any]]


class CollectionsService:
    """Qdrant's `Collections` over the registry: a method for each call that is covered."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def Get(  # noqa: N802
        self, request: collections.GetCollectionInfoRequest, context: Any
    ) -> collections.GetCollectionInfoResponse:
        name = self._registry.catalogue.resolve(request.collection_name)
        process = self._registry.process(name)
        info = collections.CollectionInfo(status=collections.Green)
        if process.optimizing:
            info.CopyFrom(process.info)
            info.status = collections.Yellow
        else:
            info.MergeFromString(await process.call("Info", b""))
        info.optimizer_status.ok = True
        info.config.CopyFrom(describe(self._registry.catalogue.configs[name]))
        return collections.GetCollectionInfoResponse(result=info)

    async def List(  # noqa: N802
        self, request: collections.ListCollectionsRequest, context: Any
    ) -> collections.ListCollectionsResponse:
        names = sorted(self._registry.catalogue.configs)
        return collections.ListCollectionsResponse(
            collections=[collections.CollectionDescription(name=name) for name in names]
        )

    async def CollectionExists(  # noqa: N802
        self, request: collections.CollectionExistsRequest, context: Any
    ) -> collections.CollectionExistsResponse:
        try:
            self._registry.catalogue.resolve(request.collection_name)
            exists = True
        except NotFound:
            exists = False
        return collections.CollectionExistsResponse(
            result=collections.CollectionExists(exists=exists)
        )

    async def Create(  # noqa: N802
        self, request: collections.CreateCollection, context: Any
    ) -> collections.CollectionOperationResponse:
        await self._registry.create(request)
        return collections.CollectionOperationResponse(result=True)

    async def Update(  # noqa: N802
        self, request: collections.UpdateCollection, context: Any
    ) -> collections.CollectionOperationResponse:
        """An empty change of the optimizers' configuration asks to optimize."""
        allow_only(request, "collection_name", "optimizers_config", "timeout")
        allow_only(request.optimizers_config)
        await self._registry.optimize(request.collection_name)
        return collections.CollectionOperationResponse(result=True)

    async def Delete(  # noqa: N802
        self, request: collections.DeleteCollection, context: Any
    ) -> collections.CollectionOperationResponse:
        existed = await self._registry.delete(request.collection_name)
        return collections.CollectionOperationResponse(result=existed)

    async def UpdateAliases(  # noqa: N802
        self, request: collections.ChangeAliases, context: Any
    ) -> collections.CollectionOperationResponse:
        await self._registry.change_aliases(request.actions)
        return collections.CollectionOperationResponse(result=True)

    async def ListAliases(  # noqa: N802
        self, request: collections.ListAliasesRequest, context: Any
    ) -> collections.ListAliasesResponse:
        aliases = sorted(self._registry.catalogue.aliases.items())
        return collections.ListAliasesResponse(
            aliases=[
                collections.AliasDescription(alias_name=alias, collection_name=name)
                for alias, name in aliases
            ]
        )


def describe(config: collections.CreateCollection) -> collections.CollectionConfig:
    """A collection's configuration with the values that Qdrant's clients insist on."""
    return collections.CollectionConfig(
        params=collections.CollectionParams(
            shard_number=1,
            vectors_config=config.vectors_config,
            sparse_vectors_config=config.sparse_vectors_config,
            replication_factor=1,
            write_consistency_factor=1,
        ),
        hnsw_config=collections.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10_000),
        optimizer_config=collections.OptimizersConfigDiff(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=0,
            flush_interval_sec=5,
        ),
        wal_config=collections.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
    )


class _NotCovered(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Refuses, by name, every call that no other handler takes."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        call = details.method.lstrip("/")

        async def refuse(request: Any, context: Any) -> None:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{call} is not covered by Qdrant Edge as served here; use a Qdrant server for it",
            )

        return grpc.unary_unary_rpc_method_handler(refuse)


def translating(call: str, behaviour: Handler) -> Handler:
    """Sends errors to clients without internals."""

    async def translated(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except RealmError as error:
            if error.code == "INTERNAL":
                log.error("call_failed", call=call, error=error.message)
            await context.abort(grpc.StatusCode[error.code], error.message)
        except Exception:
            incident = uuid4().hex
            log.exception("call_failed", call=call, incident=incident)
            await context.abort(
                grpc.StatusCode.INTERNAL, f"{call} failed; see the log, incident {incident}"
            )

    return translated


def forward(registry: Registry, call: str) -> Handler:
    """Passes a request's bytes to the process of the collection that it names."""

    async def forwarded(body: bytes, context: Any) -> bytes:
        # every request of `qdrant.Points` has the collection's name as field 1, like this one
        name = collections.GetCollectionInfoRequest.FromString(body).collection_name
        return await registry.process(name).call(call, body)

    return forwarded


def point_handlers(registry: Registry) -> grpc.GenericRpcHandler[Any, Any]:
    """Without (de)serializers: bytes go through as they are."""
    return grpc.method_handlers_generic_handler(
        POINTS,
        {
            call: grpc.unary_unary_rpc_method_handler(
                translating(f"{POINTS}/{call}", forward(registry, call))
            )
            for call in POINT_CALLS
        },
    )


def collection_handlers(registry: Registry) -> grpc.GenericRpcHandler[Any, Any]:
    service = CollectionsService(registry)
    described = load("collections_service_pb2").DESCRIPTOR.services_by_name["Collections"]
    methods = described.methods_by_name
    return grpc.method_handlers_generic_handler(
        COLLECTIONS,
        {
            call: grpc.unary_unary_rpc_method_handler(
                translating(f"{COLLECTIONS}/{call}", getattr(service, call)),
                GetMessageClass(methods[call].input_type).FromString,
                GetMessageClass(methods[call].output_type).SerializeToString,
            )
            for call in vars(CollectionsService)
            if call[0].isupper()
        },
    )


def root_handlers() -> grpc.GenericRpcHandler[Any, Any]:
    """Qdrant's own health check, by which clients learn title and version."""
    messages = load("qdrant_pb2")
    reply = messages.HealthCheckReply(
        title="qdrant edge, served by realm",
        version=version("qdrant-client"),  # of the protocol spoken here
        commit=f"qdrant-edge-py {version('qdrant-edge-py')}",
    )

    async def health_check(request: Any, context: Any) -> Any:
        return reply

    handler = grpc.unary_unary_rpc_method_handler(
        health_check, messages.HealthCheckRequest.FromString, type(reply).SerializeToString
    )
    return grpc.method_handlers_generic_handler(ROOT, {"HealthCheck": handler})


def build(registry: Registry) -> tuple[grpc.aio.Server, health_aio.HealthServicer]:
    """A server, bound to no port yet, and its health, serving from the start."""
    server = grpc.aio.server(options=OPTIONS)
    healthy = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    own = (point_handlers(registry), collection_handlers(registry), root_handlers())
    server.add_generic_rpc_handlers((*own, _NotCovered()))
    return server, healthy


async def set_serving(healthy: health_aio.HealthServicer) -> None:
    for service in (health.OVERALL_HEALTH, POINTS, COLLECTIONS, ROOT):
        await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)

"""The gRPC server: Qdrant's services, health, and the one place that maps errors to statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from realm.errors import NotFound, RealmError
from services.standalone.qdrant_edge.protocol import collections, load
from services.standalone.qdrant_edge.registry import Registry
from services.standalone.qdrant_edge.translation import allow_only

if TYPE_CHECKING:
    from qdrant_client.grpc.collections_service_pb2_grpc import CollectionsServicer
else:
    CollectionsServicer = load("collections_service_pb2_grpc").CollectionsServicer

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
]

Handler = Callable[[Any, Any], Awaitable[Any]]


class CollectionsService(CollectionsServicer):
    """Qdrant's `Collections` over the registry. Calls not defined here are refused before."""

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


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls that are not covered, by name; sends errors to clients without internals."""

    def __init__(self, covered: set[str]) -> None:
        self._covered = covered

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        call = details.method.lstrip("/")
        if call not in self._covered:
            return grpc.unary_unary_rpc_method_handler(refuse(call))
        handler = await continuation(details)
        if handler.unary_unary is None:  # health's Watch, a stream, has errors of its own
            return handler
        return grpc.unary_unary_rpc_method_handler(
            translating(call, handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )


def refuse(call: str) -> Handler:
    async def refused(request: Any, context: Any) -> None:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"{call} is not covered by Qdrant Edge as served here; use a Qdrant server for it",
        )

    return refused


def translating(call: str, behaviour: Handler) -> Handler:
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
            call: grpc.unary_unary_rpc_method_handler(forward(registry, call))
            for call in POINT_CALLS
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


def covered_calls() -> set[str]:
    return {
        *(f"{POINTS}/{call}" for call in POINT_CALLS),
        *(f"{COLLECTIONS}/{call}" for call in vars(CollectionsService) if call[0].isupper()),
        f"{ROOT}/HealthCheck",
        *(f"{health.SERVICE_NAME}/{call}" for call in ("Check", "List", "Watch")),
    }


def build(registry: Registry) -> tuple[grpc.aio.Server, health_aio.HealthServicer]:
    """A server, bound to no port yet, and its health, serving from the start."""
    server = grpc.aio.server(interceptors=[Boundary(covered_calls())], options=OPTIONS)
    add_collections = load("collections_service_pb2_grpc").add_CollectionsServicer_to_server
    add_collections(CollectionsService(registry), server)
    server.add_generic_rpc_handlers((point_handlers(registry), root_handlers()))
    healthy = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    return server, healthy


async def set_serving(healthy: health_aio.HealthServicer) -> None:
    for service in (health.OVERALL_HEALTH, POINTS, COLLECTIONS, ROOT):
        await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)

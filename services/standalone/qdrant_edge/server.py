"""The gRPC server: Qdrant's services, health, and the one place that maps errors to statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from realm.errors import RealmError
from services.standalone.qdrant_edge.collections_service import CollectionsService
from services.standalone.qdrant_edge.protocol import collections, load
from services.standalone.qdrant_edge.registry import Registry

log = structlog.get_logger(__name__)

POINTS, COLLECTIONS, ROOT = "qdrant.Points", "qdrant.Collections", "qdrant.Qdrant"
#: The calls of `qdrant.Points` that a collection's process answers.
POINT_CALLS = (
    *("Query", "QueryBatch", "Get", "Scroll", "Count"),
    *("Upsert", "Delete", "CreateFieldIndex", "DeleteFieldIndex"),
)

OPTIONS = [
    # else a second server would share the port, and half the requests, in silence
    ("grpc.so_reuseport", 0),
    # batches of points are large; Qdrant's clients set no limit either
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]

Handler = Callable[[Any, Any], Awaitable[Any]]


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses by name what is not covered; tells errors to clients without their insides."""

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
        return await registry.keeper(name).call(call, body)

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

"""What every gRPC server of ours shares: errors as statuses, metrics, deadlines.

The mapping itself and the settings of channels stand in `realm.wire`, for the bare client;
they are to be had from here too.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from realm.errors import RealmError, Unsupported
from realm.wire import (
    MESSAGE_BYTES,
    channel_options,
    from_rpc_error,
    server_options,
    to_status,
    to_trailers,
)

__all__ = [
    "MESSAGE_BYTES",
    "ErrorInterceptor",
    "MetricsInterceptor",
    "channel_options",
    "from_rpc_error",
    "remaining",
    "server_options",
    "to_status",
]

log = structlog.get_logger(__name__)

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

Handler = Any  # grpc.RpcMethodHandler, whose fields no stub describes
Context = Any  # grpc.aio.ServicerContext of any request and response
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]

_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler, "unary"),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler, "server_stream"),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler, "client_stream"),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler, "bidi_stream"),
}


def remaining(context: Context, most: float = 60.0) -> float:
    """Seconds until the caller's deadline, never more than `most` and never below 0."""
    left = context.time_remaining()
    return most if left is None else max(0.0, min(left, most))


class AroundInterceptor(grpc.aio.ServerInterceptor, ABC):  # type: ignore[type-arg]
    """Runs a context manager around each call, whatever its kind."""

    @abstractmethod
    def around(
        self, method: str, kind: str, context: Context
    ) -> AbstractAsyncContextManager[None]: ...

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        name, make, kind = _KINDS[(handler.request_streaming, handler.response_streaming)]
        wrapped = self._wrap(getattr(handler, name), str(handler_call_details.method), kind)
        return make(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _wrap(self, behaviour: Callable[..., Any], method: str, kind: str) -> Callable[..., Any]:
        async def one(request: Any, context: Context) -> Any:
            async with self.around(method, kind, context):
                return await behaviour(request, context)

        async def many(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self.around(method, kind, context):
                async for response in behaviour(request, context):
                    yield response

        # A streaming method may also be a coroutine that calls context.write.
        return many if inspect.isasyncgenfunction(behaviour) else one


class ErrorInterceptor(AroundInterceptor):
    """Domain errors become statuses; of anything else the client sees an incident's id alone."""

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Context) -> AsyncIterator[None]:
        try:
            yield
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except RealmError as error:
            await _abort(context, error)
        except NotImplementedError:
            await _abort(context, Unsupported(f"this server does not implement {method}"))
        except Exception as error:
            incident = uuid.uuid4().hex[:12]
            log.exception("call_failed", method=method, incident=incident, exc_info=error)
            await _abort(
                context,
                RealmError(
                    f"something is wrong in the server; its log says what, incident {incident}",
                    incident=incident,
                ),
            )


class MetricsInterceptor(AroundInterceptor):
    """Counts and times calls under the names of go-grpc-prometheus. The outermost interceptor."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("grpc_type", "grpc_service", "grpc_method")
        self._started = Counter("grpc_server_started", "Calls begun", labels, registry=registry)
        self._handled = Counter(
            "grpc_server_handled",
            "Calls ended, by status",
            (*labels, "grpc_code"),
            registry=registry,
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Duration of calls",
            labels,
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Context) -> AsyncIterator[None]:
        service, _, name = method.lstrip("/").partition("/")
        begun = time.perf_counter()
        self._started.labels(kind, service, name).inc()
        code = grpc.StatusCode.OK
        try:
            yield
            code = _code(context)
        except (asyncio.CancelledError, GeneratorExit):
            late = context.time_remaining() == 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _code(context)
            raise
        except BaseException:
            code = grpc.StatusCode.UNKNOWN
            raise
        finally:
            self._handled.labels(kind, service, name, _go_name(code)).inc()
            self._seconds.labels(kind, service, name).observe(time.perf_counter() - begun)


async def _abort(context: Context, error: RealmError) -> None:
    await context.abort(grpc.StatusCode[error.code], error.message, to_trailers(error))


def _code(context: Context) -> grpc.StatusCode:
    found = context.code()
    if isinstance(found, grpc.StatusCode):
        return found
    return next((code for code in grpc.StatusCode if code.value[0] == found), grpc.StatusCode.OK)


def _go_name(code: grpc.StatusCode) -> str:
    """`INVALID_ARGUMENT` → `InvalidArgument`, as Go's dashboards expect."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(word.capitalize() for word in code.name.split("_"))

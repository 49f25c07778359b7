"""What every gRPC server shares: errors as statuses, metrics, request ids, traces, deadlines.

The mapping of errors and the options of channels are in `realm.client.wire`.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import grpc
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from realm import tracing
from realm.client.wire import to_trailers
from realm.errors import InvalidInput, RealmError, Unsupported
from realm.process.redaction import for_callers
from realm.tracing import rpc as traced_rpc

log = structlog.get_logger(__name__)

#: The health name that says whether the process lives, not whether it serves.
LIVE_NAME = "live"
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

REQUEST_ID = "x-request-id"
MAX_REQUEST_ID = 128
#: Calls without log line and trace: they would bury the questions.
QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.", "/realm.internal.v1.ServingReport")
_NO_CALL = nullcontext()
#: Seconds from a caller to a server at most, where a cancelled call is told from a late one.
MOST_ON_THE_WAY = 0.05

#: What ends a process.
EXITS = (KeyboardInterrupt, SystemExit)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def remaining(context: Context, most: float = 60.0) -> float:
    """Seconds until the caller's deadline, never more than `most` and never below 0."""
    left = context.time_remaining()
    return most if left is None else max(0.0, min(left, most))


class AroundInterceptor(grpc.aio.ServerInterceptor, ABC):  # type: ignore[type-arg]
    """Runs a context manager around each call, whatever its kind."""

    #: Whether requests are parsed inside, so that malformed bytes raise there.
    parses = False

    def __init__(self) -> None:
        # By method: the handler inside, which stays the same, and its wrapper.
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

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
        method = str(handler_call_details.method)
        within, wrapped = self._wrapped.get(method, (None, None))
        if within is not handler:
            wrapped = self._made(handler, method)
            self._wrapped[method] = (handler, wrapped)
        return wrapped

    def _made(self, handler: Handler, method: str) -> Handler:
        name, make, kind = _KINDS[(handler.request_streaming, handler.response_streaming)]
        read = handler.request_deserializer
        within = _reader(read, method, handler.request_streaming) if self.parses and read else None
        return make(
            self._wrap(getattr(handler, name), method, kind, within or _unchanged),
            request_deserializer=None if within else read,
            response_serializer=handler.response_serializer,
        )

    def _wrap(
        self, behaviour: Callable[..., Any], method: str, kind: str, read: Callable[[Any], Any]
    ) -> Callable[..., Any]:
        async def one(request: Any, context: Context) -> Any:
            async with self.around(method, kind, context):
                return await behaviour(read(request), context)

        async def many(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self.around(method, kind, context):
                async for response in behaviour(read(request), context):
                    yield response

        # A streaming method may also be a coroutine that calls context.write.
        return many if inspect.isasyncgenfunction(behaviour) else one


class ErrorInterceptor(AroundInterceptor):
    """Turns domain errors into statuses, and any other into an incident's id alone.

    gRPC itself would answer malformed bytes with UNKNOWN and an exception's text, and in the
    middle of a stream with a fault of the server's.
    """

    parses = True

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Context) -> AsyncIterator[None]:
        try:
            yield
        except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit, *EXITS):
            raise
        except RealmError as error:
            await _abort(context, error)
        except NotImplementedError:
            await _abort(context, Unsupported(f"this server does not implement {method}"))
        except BaseException as error:  # a panic of native code is no Exception
            await _abort(context, incident(error, method))


class MetricsInterceptor(AroundInterceptor):
    """Counts and times calls under the names of go-grpc-prometheus. The outermost interceptor."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
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
        self._methods: dict[tuple[str, str], _Method] = {}

    def around(self, method: str, kind: str, context: Context) -> _Timed:
        found = self._methods.get((method, kind))
        if found is None:
            found = self._methods[method, kind] = self._method(method, kind)
        return _Timed(found, context)

    def _method(self, method: str, kind: str) -> _Method:
        service, _, name = method.lstrip("/").partition("/")
        labels = (kind, service, name)

        def handled(code: grpc.StatusCode) -> Counter:
            return self._handled.labels(*labels, _go_name(code))

        return _Method(
            self._started.labels(*labels), self._seconds.labels(*labels), lru_cache(handled)
        )


@dataclass(frozen=True, slots=True)
class _Method:
    """One method's metrics: finding them by labels costs as much as using them."""

    started: Counter
    seconds: Histogram
    handled: Callable[[grpc.StatusCode], Counter]


class _Timed:
    """Around one call. No generator: it costs every request."""

    __slots__ = ("_began", "_context", "_method")

    def __init__(self, method: _Method, context: Context) -> None:
        self._method = method
        self._context = context

    async def __aenter__(self) -> None:
        self._began = time.perf_counter()
        self._method.started.inc()

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        seconds = time.perf_counter() - self._began
        self._method.handled(ended_as(self._context, error, seconds)).inc()
        self._method.seconds.observe(seconds)


class CallInterceptor(AroundInterceptor):
    """Gives each call a request id and a trace, in every log line. The outermost interceptor.

    The id is the caller's `x-request-id`, else the trace's id, else a new one. Each call runs in
    a task of its own, so what is bound to its context ends with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = log.bind()  # bound: the module's own is looked up at each use

    def around(self, method: str, kind: str, context: Context) -> AbstractAsyncContextManager[None]:
        return _NO_CALL if method.startswith(QUIET) else _Call(method, context, self._log)


class _Call:
    """Around one call. No generator: it costs every request."""

    __slots__ = ("_began", "_context", "_log", "_method", "_request_id", "_span")

    def __init__(self, method: str, context: Context, log: Any) -> None:
        self._method = method
        self._context = context
        self._log = log

    async def __aenter__(self) -> None:
        metadata = dict(self._context.invocation_metadata() or ())
        self._span = _span(self._method, metadata)
        asked = str(metadata.get(REQUEST_ID, ""))[:MAX_REQUEST_ID]
        traced = tracing.trace_id() if self._span is not None else ""
        self._request_id = asked or traced or f"{random.getrandbits(128):032x}"
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        self._began = time.perf_counter()

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        seconds = time.perf_counter() - self._began
        code = ended_as(self._context, error, seconds)
        if self._span is not None:
            traced_rpc.end_server_span(self._span, code, self._request_id)
        self._log.debug(
            "call_ended",
            method=self._method,
            code=code.name,
            milliseconds=round(seconds * 1000, 2),
        )


def annotate_call(**facts: Any) -> None:
    """Adds facts to the current call's further log lines and to its trace."""
    structlog.contextvars.bind_contextvars(**facts)
    if tracing.is_recording():
        tracing.annotate(**{f"realm.{name}": value for name, value in facts.items()})


def _span(method: str, metadata: dict[str, Any]) -> Any:
    tracer = tracing.tracer()
    return None if tracer is None else traced_rpc.start_server_span(tracer, method, metadata)


def _unchanged(request: Any) -> Any:
    return request


def _reader(
    deserialise: Callable[[bytes], Any], method: str, streaming: bool
) -> Callable[[Any], Any]:
    def one(data: bytes) -> Any:
        try:
            return deserialise(data)
        except Exception as error:
            raise InvalidInput(
                f"{method} was sent bytes that are no request of its kind"
            ) from error

    async def each(requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for request in requests:
            yield one(request)

    return each if streaming else one


def incident(error: BaseException, method: str) -> RealmError:
    """What the caller gets for an unexpected error; the log has all of it."""
    name = uuid.uuid4().hex[:12]
    log.exception("call_failed", method=method, incident=name, exc_info=error)
    return RealmError(
        f"something is wrong in the server; its log says what, incident {name}", incident=name
    )


async def _abort(context: Context, raised: RealmError) -> None:
    error = for_callers(raised)
    if error.message != raised.message:
        log.warning("call_refused", why=raised.message)
    await context.abort(grpc.StatusCode[error.code], error.message, to_trailers(error))


def code_of(context: Context) -> grpc.StatusCode:
    """A call's status now; gRPC says 0 while it is not set."""
    found = context.code()
    return found if isinstance(found, grpc.StatusCode) else _CODES.get(found, grpc.StatusCode.OK)


def ended_as(context: Context, error: BaseException | None, seconds: float) -> grpc.StatusCode:
    """How a call ended that ran for `seconds` and left its handler by `error`."""
    if error is None or isinstance(error, grpc.aio.AbortError):
        return code_of(context)
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        late = _deadline_passed(context.time_remaining(), seconds)
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
    return grpc.StatusCode.UNKNOWN


def _deadline_passed(left: float | None, seconds: float) -> bool:
    """Whether the deadline has passed for the caller, who cancels what the server still runs.

    The server's own comes later: it starts when the call arrives, and gRPC rounds what is left
    up by as much as a hundredth.
    """
    return left is not None and left <= MOST_ON_THE_WAY + (seconds + left) / 100


def _go_name(code: grpc.StatusCode) -> str:
    """`INVALID_ARGUMENT` → `InvalidArgument`, as Go's dashboards expect."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(word.capitalize() for word in code.name.split("_"))

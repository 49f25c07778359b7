"""Traces of gRPC calls: a span for each, made by its client and continued by its server, through
the metadata. OpenTelemetry is imported only where there are traces.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from realm import tracing

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer


class _Details(NamedTuple):
    """`grpc.ClientCallDetails`, which has no constructor of its own."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


def traced(channel: grpc.Channel) -> grpc.Channel:
    """The channel, unchanged if this process has no traces."""
    return channel if tracing.tracer() is None else grpc.intercept_channel(channel, _Sync())


def aio_interceptors() -> list[Any]:
    """Interceptors for a channel of `grpc.aio`; none if this process has no traces."""
    return [] if tracing.tracer() is None else [_AioUnary(), _AioStream()]


def start_server_span(tracer: Tracer, method: str, metadata: Mapping[str, Any]) -> Span:
    """Makes the span current for the rest of the call's task. End it with `end_server_span`: a
    stream's generator may be closed by another task, where this one's token cannot be reset.

    A span that is not recorded still passes the trace's id and the decision on to further calls.
    """
    from opentelemetry import context, propagate, trace

    propagator = propagate.get_global_textmap()
    if _fields(propagator).isdisjoint(metadata):
        span = _start_root(tracer, method)
    else:
        span = _start(tracer, method, trace.SpanKind.SERVER, propagator.extract(metadata))
    context.attach(trace.set_span_in_context(span))
    return span


def end_server_span(span: Span, code: grpc.StatusCode, request_id: str) -> None:
    if span.is_recording():
        span.set_attribute("realm.request_id", request_id)
        _end(span, code)


def _start_root(tracer: Tracer, method: str) -> Span:
    """A trace's first span. The SDK asks its sampler, which depends on the id alone, only after
    most of the work: asking first makes the usual, unsampled case cheap.
    """
    from opentelemetry import trace
    from opentelemetry.context import Context

    export = tracing.export()
    if export is None or (limit := export.sampled_below()) is None:
        return _start(tracer, method, trace.SpanKind.SERVER, Context())
    ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    if ids[0] & export.LOW_BITS >= limit:
        return trace.NonRecordingSpan(trace.SpanContext(*ids, is_remote=False))
    token = export.GIVEN_IDS.set(ids)
    try:
        return _start(tracer, method, trace.SpanKind.SERVER, Context())
    finally:
        export.GIVEN_IDS.reset(token)


def _start_client_span(details: Any) -> tuple[Span, list[tuple[str, str]]]:
    """The call's span and the metadata to send."""
    from opentelemetry import propagate, trace

    tracer, method = tracing.tracer(), details.method
    assert tracer is not None
    text = method.decode() if isinstance(method, bytes) else method
    span = _start(tracer, text, trace.SpanKind.CLIENT, None)
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return span, [*(details.metadata or ()), *carrier.items()]


def _start(tracer: Tracer, method: str, kind: SpanKind, parent: Context | None) -> Span:
    """:param parent: None: the current context."""
    service, _, name = method.lstrip("/").partition("/")
    return tracer.start_span(
        f"{service}/{name}",
        parent,
        kind=kind,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )


def _end(span: Span, code: Any) -> None:
    """:param code: None where the status is not known."""
    from opentelemetry.trace import StatusCode

    if isinstance(code, grpc.StatusCode):
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code is not grpc.StatusCode.OK:
            span.set_status(StatusCode.ERROR, code.name)
    span.end()


@lru_cache(maxsize=4)
def _fields(propagator: Any) -> frozenset[str]:
    """The metadata keys that carry a trace's context."""
    return frozenset(propagator.fields)


class _Sync(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """For every kind of call that the client makes."""

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return self._around(continuation, client_call_details, request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return self._around(continuation, client_call_details, request)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return self._around(continuation, client_call_details, request_iterator)

    def _around(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        span, metadata = _start_client_span(details)
        sent = _Details(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        call: Any = continuation(sent, request)
        if hasattr(call, "add_done_callback"):
            call.add_done_callback(lambda done: _end(span, done.code()))
        elif not call.add_callback(lambda: _end(span, call.code())):
            _end(span, call.code())
        return call


class _AioUnary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        span, metadata = _start_client_span(client_call_details)
        sent = client_call_details._replace(metadata=grpc.aio.Metadata(*metadata))
        code = None
        try:
            call = await continuation(sent, request)
            code = await call.code()
        finally:
            _end(span, code)
        return call


class _AioStream(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        span, metadata = _start_client_span(client_call_details)
        sent = client_call_details._replace(metadata=grpc.aio.Metadata(*metadata))
        call = await continuation(sent, request_iterator)
        # A stream's status is known only by waiting for it.
        call.add_done_callback(lambda done: _end(span, None))
        return call

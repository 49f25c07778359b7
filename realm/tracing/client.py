"""Traces of gRPC clients: a span for each call, its context in the metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from realm.tracing import tracer


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
    return channel if tracer() is None else grpc.intercept_channel(channel, _Sync())


def aio_interceptors() -> list[Any]:
    """Interceptors for a channel of `grpc.aio`; none if this process has no traces."""
    return [] if tracer() is None else [_AioUnary(), _AioStream()]


def _start(details: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The call's span and the metadata to send."""
    from opentelemetry import propagate, trace

    found = tracer()
    assert found is not None
    method = _text(details.method)
    service, _, name = method.lstrip("/").partition("/")
    span = found.start_span(
        f"{service}/{name}",
        kind=trace.SpanKind.CLIENT,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return span, [*(details.metadata or ()), *carrier.items()]


def _end(span: Any, code: Any) -> None:
    from opentelemetry.trace import StatusCode

    if isinstance(code, grpc.StatusCode):
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code is not grpc.StatusCode.OK:
            span.set_status(StatusCode.ERROR, code.name)
    span.end()


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method


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
        span, metadata = _start(details)
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
        span, metadata = _start(client_call_details)
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
        span, metadata = _start(client_call_details)
        sent = client_call_details._replace(metadata=grpc.aio.Metadata(*metadata))
        call = await continuation(sent, request_iterator)
        # A stream's status is known only by waiting for it.
        call.add_done_callback(lambda done: _end(span, None))
        return call

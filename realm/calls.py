"""Who is calling: a request id and a trace for each call of a gRPC server, in every log line."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog

from realm import tracing
from realm.rpc import AroundInterceptor, Context

REQUEST_ID = "x-request-id"
#: Probes and reports would bury the questions.
QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.", "/realm.internal.v1.ServingReport")
LONGEST_ID = 128

log = structlog.get_logger(__name__)


class CallInterceptor(AroundInterceptor):
    """The outermost interceptor.

    A call's id is the caller's `x-request-id`, else its trace's id, else a new one. Each call
    runs in a task of its own, so what is bound to its context ends with it.
    """

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Context) -> AsyncIterator[None]:
        if method.startswith(QUIET):
            yield
            return
        metadata = dict(context.invocation_metadata() or ())
        span = _server_span(method, metadata)
        asked = str(metadata.get(REQUEST_ID, ""))[:LONGEST_ID]
        request_id = asked or tracing.trace_id() or uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        try:
            yield
        finally:
            code = _code_of(context)
            if span is not None:
                _end(span, code, request_id)
            log.debug(
                "call_ended",
                method=method,
                code=code.name,
                milliseconds=round((time.perf_counter() - began) * 1000, 2),
            )


def about_call(**facts: Any) -> None:
    """Says something of the call under way in its further log lines and in its trace."""
    structlog.contextvars.bind_contextvars(**facts)
    tracing.annotate(**{f"realm.{name}": value for name, value in facts.items()})


def _server_span(method: str, metadata: dict[str, Any]) -> Any:
    """Made current for the rest of the call's task, and ended by hand: a stream's generator may
    be closed by another task, where a token of this one cannot be given back."""
    if (tracer := tracing.tracer()) is None:
        return None
    from opentelemetry import context, propagate, trace

    service, _, name = method.lstrip("/").partition("/")
    span = tracer.start_span(
        f"{service}/{name}",
        propagate.extract(metadata),
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )
    context.attach(trace.set_span_in_context(span))
    return span


def _end(span: Any, code: grpc.StatusCode, request_id: str) -> None:
    span.set_attribute("realm.request_id", request_id)
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR, code.name)
    span.end()


def _code_of(context: Context) -> grpc.StatusCode:
    found = context.code()
    if isinstance(found, grpc.StatusCode):
        return found
    if isinstance(sys.exc_info()[1], BaseException) and not found:
        return grpc.StatusCode.CANCELLED
    return next((code for code in grpc.StatusCode if code.value[0] == found), grpc.StatusCode.OK)

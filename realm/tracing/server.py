"""Traces of gRPC servers: a span for each call. Imported only where there are traces."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import grpc
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context

from realm import tracing


def start_span(tracer: trace.Tracer, method: str, metadata: Mapping[str, Any]) -> trace.Span:
    """Makes the span current for the rest of the call's task. End it with `end_span`: a stream's
    generator may be closed by another task, where this one's token cannot be reset.

    A span that is not recorded still passes the trace's id and the decision on to further calls.
    """
    propagator = propagate.get_global_textmap()
    if _fields(propagator).isdisjoint(metadata):
        span = _start_root(tracer, method)
    else:
        span = _start(tracer, method, propagator.extract(metadata))
    context.attach(trace.set_span_in_context(span))
    return span


def end_span(span: trace.Span, code: grpc.StatusCode, request_id: str) -> None:
    if not span.is_recording():
        return
    span.set_attribute("realm.request_id", request_id)
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(trace.StatusCode.ERROR, code.name)
    span.end()


def _start_root(tracer: trace.Tracer, method: str) -> trace.Span:
    """A trace's first span. The SDK asks its sampler, which depends on the id alone, only after
    most of the work: asking first makes the usual, unsampled case cheap.
    """
    export = tracing.export()
    if export is None or (limit := export.sampled_below()) is None:
        return _start(tracer, method, Context())
    ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    if ids[0] & export.LOW_BITS >= limit:
        return trace.NonRecordingSpan(trace.SpanContext(*ids, is_remote=False))
    token = export.GIVEN_IDS.set(ids)
    try:
        return _start(tracer, method, Context())
    finally:
        export.GIVEN_IDS.reset(token)


def _start(tracer: trace.Tracer, method: str, parent: Context) -> trace.Span:
    service, _, name = method.lstrip("/").partition("/")
    return tracer.start_span(
        f"{service}/{name}",
        parent,
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )


@lru_cache(maxsize=4)
def _fields(propagator: Any) -> frozenset[str]:
    """The metadata keys that carry a trace's context."""
    return frozenset(propagator.fields)

"""Traces over gRPC, the server's side: a span a call. Loaded only where there are traces."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import grpc
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context

from realm import tracing


def begun(tracer: trace.Tracer, method: str, metadata: Mapping[str, Any]) -> trace.Span:
    """Made current for the rest of the call's task, and ended by hand: a stream's generator may
    be closed by another task, where a token of this one cannot be given back.

    One that nobody records still carries the trace's id and the decision to whomever is called.
    """
    propagator = propagate.get_global_textmap()
    if _fields(propagator).isdisjoint(metadata):
        span = _first(tracer, method)
    else:
        span = _started(tracer, method, propagator.extract(metadata))
    context.attach(trace.set_span_in_context(span))
    return span


def ended(span: trace.Span, code: grpc.StatusCode, request_id: str) -> None:
    if not span.is_recording():
        return
    span.set_attribute("realm.request_id", request_id)
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(trace.StatusCode.ERROR, code.name)
    span.end()


def _first(tracer: trace.Tracer, method: str) -> trace.Span:
    """A trace's first span. The SDK makes much, and then asks its sampler, which looks at nothing
    but the id: whether it will leave the trace out is asked first, for that is the rule.
    """
    export = tracing.export()
    if export is None or (limit := export.sampled_below()) is None:
        return _started(tracer, method, Context())
    ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    if ids[0] & export.LOW_BITS >= limit:
        return trace.NonRecordingSpan(trace.SpanContext(*ids, is_remote=False))
    token = export.GIVEN_IDS.set(ids)
    try:
        return _started(tracer, method, Context())
    finally:
        export.GIVEN_IDS.reset(token)


def _started(tracer: trace.Tracer, method: str, parent: Context) -> trace.Span:
    service, _, name = method.lstrip("/").partition("/")
    return tracer.start_span(
        f"{service}/{name}",
        parent,
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )


@lru_cache(maxsize=4)
def _fields(propagator: Any) -> frozenset[str]:
    """The metadata that say what trace a call belongs to."""
    return frozenset(propagator.fields)

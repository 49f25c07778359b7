"""OpenTelemetry's SDK as configured here: providers, exporters, and ids that can be given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, TraceIdRatioBased

from realm import __version__
from realm.errors import BadSettings
from realm.tracing import NAME

PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: The bits of a trace's id that a sampled share is drawn by.
LOW_BITS = TraceIdRatioBased.TRACE_ID_LIMIT
#: Trace and span id of the next span, where they follow from what it describes.
GIVEN_IDS: Final[ContextVar[tuple[int, int] | None]] = ContextVar("given_ids", default=None)


class GivenIds(RandomIdGenerator):
    """Random ids, unless the context gives them."""

    def generate_span_id(self) -> int:
        given = GIVEN_IDS.get()
        return given[1] if given else super().generate_span_id()

    def generate_trace_id(self) -> int:
        given = GIVEN_IDS.get()
        return given[0] if given else super().generate_trace_id()


def install(service: str, folder: str, exporters: Sequence[str]) -> None:
    """Makes the process's provider, which samples as `OTEL_TRACES_SAMPLER` says.

    :raises BadSettings: if an exporter is unknown, or the folder cannot be written.
    """
    if isinstance(trace.get_tracer_provider(), _Requests):
        return
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", f"realm-{service}"),
            "service.namespace": "realm",
            "service.version": __version__,
            "process.pid": os.getpid(),
        }
    )
    requests = _Requests(resource=resource, id_generator=GivenIds())
    unsampled = TracerProvider(
        resource=resource, sampler=ALWAYS_ON, id_generator=GivenIds(), shutdown_on_exit=False
    )
    for processor in _processors(service, folder, exporters):
        requests.add_span_processor(processor)
        unsampled.add_span_processor(processor)
    requests.unsampled_tracer = unsampled.get_tracer(NAME)
    requests.sampled_below = _limit(requests.sampler)
    trace.set_tracer_provider(requests)


class _Requests(TracerProvider):
    """The process's provider, with the unsampled one attached: one global for both."""

    unsampled_tracer: trace.Tracer
    sampled_below: int | None


def unsampled_tracer() -> trace.Tracer | None:
    """For spans that bypass the sampler: refreshes, which are few, and parts of recorded spans.
    None if this process does not export traces by itself.
    """
    provider = trace.get_tracer_provider()
    return provider.unsampled_tracer if isinstance(provider, _Requests) else None


def sampled_below() -> int | None:
    """A new trace is recorded if the low bits of its id are below this; None: ask the sampler."""
    provider = trace.get_tracer_provider()
    return provider.sampled_below if isinstance(provider, _Requests) else None


def _limit(sampler: Sampler) -> int | None:
    root = getattr(sampler, "_root", sampler)  # a parent-based sampler wraps another
    return root.bound if isinstance(root, TraceIdRatioBased) else None


def _processors(service: str, folder: str, exporters: Sequence[str]) -> list[SpanProcessor]:
    found: list[SpanProcessor] = [BatchSpanProcessor(_exporter(name)) for name in exporters]
    if folder:
        found.append(SimpleSpanProcessor(_file_exporter(service, folder)))
    return found


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(formatter=_line)
    if name != "otlp":
        raise BadSettings(f"OTEL_TRACES_EXPORTER names {name!r}: otlp, console and none are known")
    protocol = next((os.environ[each] for each in PROTOCOLS if each in os.environ), "grpc")
    if protocol != "grpc":
        raise BadSettings(f"{PROTOCOLS[1]} is {protocol!r}: traces are sent by grpc only")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _file_exporter(service: str, folder: str) -> SpanExporter:
    """A file for each process, so that lines of two processes never mix."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = (Path(folder) / f"{service}-{os.getpid()}.jsonl").open("a", encoding="utf-8")
    except OSError as error:
        raise BadSettings(f"REALM_TRACE_FOLDER {folder} cannot be written: {error}") from error
    return ConsoleSpanExporter(out=file, formatter=_line)


def _line(span: ReadableSpan) -> str:
    text: str = span.to_json(indent=None)
    return text + "\n"

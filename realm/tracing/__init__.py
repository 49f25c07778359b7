"""Traces by OpenTelemetry; off by default, and then without cost.

Switched on by OpenTelemetry's own variables (`OTEL_TRACES_EXPORTER`,
`OTEL_EXPORTER_OTLP_ENDPOINT`, …) or by `REALM_TRACE_FOLDER`, which gets finished spans as JSON
lines. A request's trace continues the caller's W3C `traceparent`. Spans of a refresh are in
`realm.records.refresh_trace`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from realm.errors import BadSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

NAME = "realm"
NEEDED = "opentelemetry.sdk"
API = "opentelemetry.trace"
EXPORT = "realm.tracing.sdk"
EXPORTER = "OTEL_TRACES_EXPORTER"
_NO_SPAN = nullcontext()
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def set_up(service: str, folder: str = "", environment: Mapping[str, str] = os.environ) -> bool:
    """Called once per process; returns whether traces are on.

    :raises BadSettings: if they are configured and OpenTelemetry is not installed, or its
        variables name an unknown exporter.
    """
    if not (folder or exporters(environment)):
        return False
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if not _installed():
        raise BadSettings(
            "traces are configured and OpenTelemetry is not installed:"
            " pip install 'realm[tracing]', or unset OTEL_* and REALM_TRACE_FOLDER"
        )
    importlib.import_module(EXPORT).install(service, folder, exporters(environment))
    return True


def exporters(environment: Mapping[str, str]) -> list[str]:
    """The exporters that the environment names; an OTLP endpoint alone means `otlp`."""
    named = environment.get(EXPORTER)
    if named is None:
        return ["otlp"] if any(environment.get(each) for each in ENDPOINTS) else []
    return [each for each in map(str.strip, named.lower().split(",")) if each not in ("", "none")]


def tracer() -> Tracer | None:
    """None unless something in this process, perhaps its user, set up OpenTelemetry."""
    if (api := sys.modules.get(API)) is None:
        return None
    provider = api.get_tracer_provider()
    return None if isinstance(provider, api.ProxyTracerProvider) else _tracer_of(provider)


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """A span of the current work, if that is traced; begins at once."""
    if (made := _child(name, attributes)) is None:
        return _NO_SPAN
    found: AbstractContextManager[Any] = sys.modules[API].use_span(
        made, end_on_exit=True, set_status_on_exception=False
    )
    return found


def past_span(name: str, seconds: float, until_ns: int) -> None:
    """A span that is over: `seconds` long, until a Unix time in nanoseconds."""
    if (made := _child(name, {}, until_ns - int(seconds * 1e9))) is not None:
        made.end(until_ns)


def annotate(**attributes: Any) -> None:
    """Adds attributes to the current span."""
    if (current := _recording()) is not None:
        current.set_attributes(attributes)


def is_recording() -> bool:
    """Whether the current work is traced."""
    return _recording() is not None


def trace_id() -> str:
    """The current trace's id, 32 hexadecimal digits; empty outside any."""
    if (api := sys.modules.get(API)) is None:
        return ""
    found = api.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""


def export() -> Any:
    """The module `realm.tracing.sdk`; None if this process does not export traces by itself."""
    return sys.modules.get(EXPORT)


@lru_cache(maxsize=4)
def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer(NAME)


def _recording() -> Span | None:
    if (api := sys.modules.get(API)) is None:
        return None
    current: Span = api.get_current_span()
    return current if current.is_recording() else None


def _child(name: str, attributes: dict[str, Any], start_ns: int | None = None) -> Span | None:
    if _recording() is None:
        return None
    exporting = export()
    found: Tracer | None = (exporting.unsampled_tracer() if exporting else None) or tracer()
    return found.start_span(name, attributes=attributes, start_time=start_ns) if found else None


def _installed() -> bool:
    try:
        return importlib.util.find_spec(NEEDED) is not None
    except ModuleNotFoundError:
        return False

"""Logs, metrics and traces, set up once per process."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Info,
    disable_created_metrics,
    start_http_server,
)
from structlog.typing import EventDict, Processor, WrappedLogger

from realm import __version__, tracing
from realm.errors import BadSettings
from realm.settings import Settings

#: Classic buckets of refresh latencies, in seconds.
REFRESH_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)


def set_up(settings: Settings, service: str, stream: TextIO | None = None) -> None:
    """Configures logs to `stream` (stderr), traces if configured, and `/metrics` if a port is
    set.

    :raises BadSettings: if the port is taken, or traces cannot be exported.
    """
    tracing.set_up(service, settings.process.trace_folder)
    _configure_logs(settings, service, stream or sys.stderr)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    show_build(service)
    where = settings.addresses
    if where.metrics_port:
        try:
            start_http_server(where.metrics_port, where.metrics_listen)
        except OSError as error:
            raise BadSettings(
                f"/metrics cannot listen on {where.metrics_listen}:{where.metrics_port}"
                f" ({error}); free the port or set REALM_METRICS_PORT"
            ) from error


def _configure_logs(settings: Settings, service: str, stream: TextIO) -> None:
    """One format for our lines and for those of libraries, which use `logging`."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.process.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    origin = {"service": service, "pid": os.getpid()}

    def add_origin(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        # Not a context variable: threads do not inherit those.
        return {**event, **origin}

    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_origin,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, settings.process.log_level.upper())
        ),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, BestEffortStream(stream))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[remove_meta, renderer], foreign_pre_chain=common
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class BestEffortStream:
    """A stream for log lines that drops what cannot be written, as on a full disk: logs and store
    often share a disk, and a failed log line must not stop the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Adds the current trace, unless the line names one, such as its refresh's."""
    if "trace_id" not in event and (found := tracing.trace_id()):
        event["trace_id"] = found
    return event


def show_build(service: str, registry: CollectorRegistry = REGISTRY) -> None:
    """Exports `realm_build_info`: version and service of this process."""
    build = Info("realm_build", "Version and service of this process", registry=registry)
    build.info({"version": __version__, "service": service})

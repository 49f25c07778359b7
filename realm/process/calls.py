"""Who is calling: a request id and a trace for each call of a gRPC server, in every log line."""

from __future__ import annotations

import random
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import grpc
import structlog

from realm import tracing
from realm.process.rpc import AroundInterceptor, Context, code_of

REQUEST_ID = "x-request-id"
#: Probes and reports would bury the questions.
QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.", "/realm.internal.v1.ServingReport")
LONGEST_ID = 128
_UNSEEN = nullcontext()

log = structlog.get_logger(__name__)


class CallInterceptor(AroundInterceptor):
    """The outermost interceptor.

    A call's id is the caller's `x-request-id`, else its trace's id, else a new one. Each call
    runs in a task of its own, so what is bound to its context ends with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = log.bind()  # bound: the module's own is looked up at each use

    def around(self, method: str, kind: str, context: Context) -> AbstractAsyncContextManager[None]:
        return _UNSEEN if method.startswith(QUIET) else _Call(method, context, self._log)


class _Call:
    """Around one call. No generator: every request pays for it."""

    __slots__ = ("_began", "_context", "_log", "_method", "_request_id", "_span")

    def __init__(self, method: str, context: Context, log: Any) -> None:
        self._method = method
        self._context = context
        self._log = log

    async def __aenter__(self) -> None:
        metadata = dict(self._context.invocation_metadata() or ())
        self._span = _span(self._method, metadata)
        asked = str(metadata.get(REQUEST_ID, ""))[:LONGEST_ID]
        traced = tracing.trace_id() if self._span is not None else ""
        self._request_id = asked or traced or f"{random.getrandbits(128):032x}"
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        self._began = time.perf_counter()

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        code = code_of(self._context)
        if error is not None and code is grpc.StatusCode.OK:
            code = grpc.StatusCode.CANCELLED
        if self._span is not None:
            from realm.tracing import server as tracing_server

            tracing_server.ended(self._span, code, self._request_id)
        self._log.debug(
            "call_ended",
            method=self._method,
            code=code.name,
            milliseconds=round((time.perf_counter() - self._began) * 1000, 2),
        )


def annotate_call(**facts: Any) -> None:
    """Says something of the call under way in its further log lines and in its trace."""
    structlog.contextvars.bind_contextvars(**facts)
    if tracing.recording():
        tracing.annotate(**{f"realm.{name}": value for name, value in facts.items()})


def _span(method: str, metadata: dict[str, Any]) -> Any:
    if (tracer := tracing.tracer()) is None:
        return None
    from realm.tracing import server as tracing_server

    return tracing_server.begun(tracer, method, metadata)

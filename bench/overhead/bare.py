"""A gateway that measures nothing: `python -m bench.overhead.bare`.

The same process as `python -m services.gateway`, but every counter, gauge and histogram of
`prometheus_client` does nothing, and calls pass through neither the interceptor that counts and
times them nor the one that gives them ids and spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from realm.process.rpc import CallInterceptor, Continuation, MetricsInterceptor
from services.gateway import __main__ as gateway
from services.gateway.metrics import GatewayMetrics


def make_bare() -> None:
    """Disables all metrics in this process."""
    for kind in (Counter, Gauge, Histogram):
        kind.labels = _itself  # type: ignore[method-assign,assignment]
    for kind, names in (
        (Counter, ("inc",)),
        (Gauge, ("inc", "dec", "set", "set_function")),
        (Histogram, ("observe",)),
    ):
        for name in names:
            setattr(kind, name, _nothing)
    for interceptor in (CallInterceptor, MetricsInterceptor):
        interceptor.intercept_service = _pass_through  # type: ignore[method-assign,assignment]
    GatewayMetrics.stage = _untimed  # type: ignore[method-assign,assignment]


def _nothing(*_: Any, **__: Any) -> None:
    """Takes anything, does nothing."""


def _itself(metric: Any, *_: Any, **__: Any) -> Any:
    return metric


async def _pass_through(_: Any, continuation: Continuation, details: Any) -> Any:
    return await continuation(details)


@contextmanager
def _untimed(*_: Any) -> Iterator[None]:
    yield


if __name__ == "__main__":
    make_bare()
    gateway.main()

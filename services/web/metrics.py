"""The web service's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from realm.process.rpc import LATENCY_BUCKETS


class WebMetrics:
    """One set a process; in tests each service has its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "realm_web_requests",
            "Requests ended, by the status that HTTP gave them; 499: the caller left",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "realm_web_request_duration_seconds",
            "Duration of requests; of streams, until the last word",
            ("method", "route"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.streams = Gauge(
            "realm_web_event_streams", "Callers that follow the index now", registry=registry
        )

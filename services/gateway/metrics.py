"""The gateway's own metrics; those of gRPC are `realm.rpc.MetricsInterceptor`'s."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Stage = Literal["encode", "search", "read"]

STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
PASSAGE_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100)


class GatewayMetrics:
    """One set a process; tests give each gateway a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.inflight = Gauge(
            "realm_gateway_inflight_requests", "Questions being answered now", registry=registry
        )
        self._stages = Histogram(
            "realm_gateway_stage_duration_seconds",
            "Time of one question in a stage, waiting for its batch included",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.retrieved = Histogram(
            "realm_gateway_retrieved_passages",
            "Passages found for a question",
            buckets=PASSAGE_BUCKETS,
            registry=registry,
        )
        self.batch = Histogram(
            "realm_gateway_batch_items",
            "Items computed together",
            ("stage",),
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.serving_step = Gauge(
            "realm_gateway_serving_step",
            "Training step of the snapshot that new questions are answered with",
            registry=registry,
        )
        self.serving_generation = Gauge(
            "realm_gateway_serving_generation",
            "Generation that new questions are answered with",
            registry=registry,
        )
        self.flips = Counter(
            "realm_gateway_generation_flips",
            "Times that another generation took over new questions",
            registry=registry,
        )
        self.load_failures = Counter(
            "realm_gateway_generation_load_failures",
            "Live generations that could not be loaded; the old one went on answering",
            registry=registry,
        )
        self.load_seconds = Histogram(
            "realm_gateway_generation_load_seconds",
            "Time to load and warm a generation's models",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=registry,
        )

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Times a stage that succeeds."""
        begun = time.perf_counter()
        yield
        self._stages.labels(stage).observe(time.perf_counter() - begun)

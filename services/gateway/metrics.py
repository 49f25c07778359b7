"""The gateway's own metrics; those of gRPC are `realm.process.rpc.MetricsInterceptor`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from realm import tracing
from realm.records.snapshots import Lag
from services.gateway.admission.lanes import Stage

STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
LOAD_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
PASSAGE_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100)


class GatewayMetrics:
    """One set a process; in tests each gateway has its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.inflight = gauge("realm_gateway_inflight_requests", "Questions being answered now")
        self.refused = counter(
            "realm_gateway_refused", "Questions refused at once, for want of time to do their work"
        )
        self.waiting = gauge(
            "realm_gateway_waiting_requests",
            "Questions that wait for a corpus version; they are not taken on yet",
        )
        self._qdrant_peers = gauge(
            "realm_gateway_qdrant_peer_up",
            "1 if a peer of Qdrant answered when it was asked last",
            ("peer",),
        )
        self._queues = gauge(
            "realm_gateway_queue_seconds",
            "Estimated seconds of work taken on and not done",
            ("stage",),
        )
        self.stalled = gauge(
            "realm_gateway_stalled_seconds",
            "For how long questions have waited for the models without any being finished",
        )
        self._stages = histogram(
            "realm_gateway_stage_duration_seconds",
            "Time of one question in a stage, waiting for its batch included",
            ("stage",),
            buckets=STAGE_BUCKETS,
        )
        self.retrieved = histogram(
            "realm_gateway_retrieved_passages",
            "Passages found for a question",
            buckets=PASSAGE_BUCKETS,
        )
        self._cached = counter(
            "realm_gateway_answer_cache_lookups",
            "Questions looked up among earlier answers, where these are kept",
            ("outcome",),
        )
        self.cache_bytes = gauge(
            "realm_gateway_answer_cache_bytes", "Memory that earlier answers take"
        )
        self.batch = histogram(
            "realm_gateway_batch_items",
            "Items computed together",
            ("stage",),
            buckets=BATCH_BUCKETS,
        )
        self.serving_step = gauge(
            "realm_gateway_serving_step",
            "Training step of the snapshot that new questions are answered with",
        )
        self.serving_generation = gauge(
            "realm_gateway_serving_generation", "Generation that new questions are answered with"
        )
        self.lag_steps = gauge(
            "realm_gateway_lag_steps",
            "Steps that the served snapshot is behind the newest in the store",
        )
        self.lagging_since = gauge(
            "realm_gateway_lagging_since_timestamp_seconds",
            "When the oldest snapshot newer than the one served was published; 0: none is newer",
        )
        self.store_age = gauge(
            "realm_gateway_store_age_seconds", "Time since the gateway last read the store"
        )
        self.flips = counter(
            "realm_gateway_generation_flips", "Flips to another generation for new questions"
        )
        self.load_failures = counter(
            "realm_gateway_generation_load_failures",
            "Live generations that could not be loaded; the old one kept answering",
        )
        self.load_seconds = histogram(
            "realm_gateway_generation_load_seconds",
            "Time to load and warm a generation's models",
            buckets=LOAD_BUCKETS,
        )
        self._timed = {name: self._stages.labels(name) for name in get_args(Stage)}
        for name in ("encode", "read"):
            self.batch.labels(name)

    def show_queues(self, seconds: Callable[[Stage], float]) -> None:
        for stage in get_args(Stage):
            self._queues.labels(stage).set_function(partial(seconds, stage))

    def note_peer(self, peer: str, answers: bool) -> None:
        self._qdrant_peers.labels(peer).set(answers)

    def count_cached(self, hit: bool) -> None:
        self._cached.labels("hit" if hit else "miss").inc()

    def show_lag(self, lag: Lag) -> None:
        self.lag_steps.set(lag.steps)
        self.lagging_since.set(lag.since or 0.0)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Times a stage that succeeds, as a span of the request's trace."""
        begun = time.perf_counter()
        with tracing.span(stage):
            yield
        self._timed[stage].observe(time.perf_counter() - begun)

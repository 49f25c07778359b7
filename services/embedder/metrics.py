"""The embedder's metrics."""

from __future__ import annotations

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

OUTCOMES = (
    *("done", "exists", "elsewhere", "unwanted", "refused", "corrupt"),
    *("quarantined", "interrupted", "unavailable", "failed"),
)
PHASES = ("load", "read", "encode", "write")
WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: Seconds; a shard is meant to take 5 to 20.
SHARD_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class EmbedderMetrics:
    """Counters of tasks, passages and tokens; `padding_tokens` are among `tokens`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.shards = counter("realm_embedder_shards", "Tasks by how they ended", ["outcome"])
        self.passages = counter("realm_embedder_passages", "Passages and questions encoded")
        self.passages_taken_over = counter(
            "realm_embedder_passages_taken_over",
            "Passages whose vectors an older file or another passage gave",
        )
        self.tokens = counter("realm_embedder_tokens", "Tokens computed, padding among them")
        self.padding_tokens = counter(
            "realm_embedder_padding_tokens", "Padding among the tokens computed"
        )
        self.shard_duration = histogram(
            "realm_embedder_shard_duration_seconds",
            "Time of one task by phase: load, read, encode, write",
            ["phase"],
            buckets=SHARD_BUCKETS,
        )
        self.queue_wait = histogram(
            "realm_embedder_queue_wait_seconds",
            "From the indexer's request to the start of the task, by task",
            ["task"],
            buckets=WAIT_BUCKETS,
        )
        self.loaded_step = Gauge(
            "realm_embedder_loaded_step",
            "Training step of the newest encoder in memory",
            registry=registry,
        )
        # A counter that appears with its first event shows Prometheus no increase at that event.
        for outcome in OUTCOMES:
            self.shards.labels(outcome)
        for phase in PHASES:
            self.shard_duration.labels(phase)

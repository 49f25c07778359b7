"""The indexer's metrics, declared once and handed in."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from realm.telemetry import REFRESH_BUCKETS


class IndexerMetrics:
    """Counters and gauges under the names of the dashboards; steps are training steps."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"realm_indexer_{name}", words, labels, registry=registry)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"realm_indexer_{name}", words, labels, registry=registry)

        self.refreshes = counter("refreshes", "Refreshes ended, by how", "outcome")
        self.refresh_duration = Histogram(
            "realm_indexer_refresh_duration_seconds",
            "Refreshes by phase: queue, embed, load, validate, swap, flip, total",
            ["phase"],
            buckets=REFRESH_BUCKETS,
            registry=registry,
        )
        self.active_step = gauge("active_step", "Training step of the live snapshot")
        self.active_snapshot_timestamp = gauge(
            "active_snapshot_timestamp_seconds", "When the live snapshot was published"
        )
        self.last_swap_timestamp = gauge(
            "last_swap_timestamp_seconds", "When the live generation was committed"
        )
        self.building_step = gauge("building_step", "Step of the snapshot being built; 0: none")
        self.shards_expected = gauge("shards_expected", "Shards of the build under way")
        self.shards_completed = gauge("shards_completed", "Those of them whose vectors are there")
        self.points = gauge("points", "Points in the collection of a generation", "state")
        self.validation_failures = counter(
            "validation_failures", "Checks of the gate that refused a generation", "check"
        )
        self.shards_requeued = counter("shards_requeued", "Results asked for a second time or more")
        self.corrupt_files = counter("corrupt_files", "Files refused and made again", "kind")
        self.action_failures = counter(
            "action_failures", "Actions that will be tried again", "action"
        )
        self.corpus_version = gauge("corpus_version", "Corpus versions", "state")
        self.oldest_unindexed_write = gauge(
            "oldest_unindexed_write_timestamp_seconds",
            "When the oldest write that live has not applied was acknowledged; 0: none",
        )

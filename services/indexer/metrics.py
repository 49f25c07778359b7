"""The indexer's metrics, declared once and injected."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from realm.process.telemetry import REFRESH_BUCKETS
from realm.records.states import PHASES, TOTAL
from services.indexer.build.lifecycle import Step
from services.indexer.gate.checks import CHECKS

OUTCOMES = ("live", "words", "healed", "rejected", "abandoned", "rolled_back")
CORRUPT_KINDS = ("snapshot", "passages", "vectors", "changes", "gate", "verify")
ACTIONS = (
    "reconcile",
    "report",
    "apply_changes",
    "verify",
    "begin_build",
    *Step,
)


class IndexerMetrics:
    """Steps are training steps; timestamps are Unix times."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"realm_indexer_{name}", words, labels, registry=registry)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"realm_indexer_{name}", words, labels, registry=registry)

        self.refreshes = counter("refreshes", "Refreshes by outcome", "outcome")
        self.refresh_duration = Histogram(
            "realm_indexer_refresh_duration_seconds",
            f"Refreshes by phase: {', '.join((*PHASES, TOTAL))}",
            ["phase"],
            buckets=REFRESH_BUCKETS,
            registry=registry,
        )
        self.refresh_target = gauge("refresh_target_seconds", "How long a refresh may take")
        self.last_refresh = gauge(
            "last_refresh_duration_seconds", "The newest completed refresh by phase", "phase"
        )
        self.leads = gauge("leads", "1 if this indexer leads, 0 if it stands by")
        self.term = gauge("term", "The term this indexer leads; 0: none")
        self.active_generation = gauge("active_generation", "Number of the live generation")
        self.lag_steps = gauge("lag_steps", "Steps that the live snapshot is behind the newest")
        self.lagging_since = gauge(
            "lagging_since_timestamp_seconds",
            "When the oldest snapshot newer than the live one was published; 0: none is newer",
        )
        self.active_step = gauge("active_step", "Training step of the live snapshot")
        self.active_snapshot_timestamp = gauge(
            "active_snapshot_timestamp_seconds", "When the live snapshot was published"
        )
        self.last_swap_timestamp = gauge(
            "last_swap_timestamp_seconds", "When the live generation was committed"
        )
        self.building_step = gauge("building_step", "Step of the snapshot being built; 0: none")
        self.shards_expected = gauge("shards_expected", "Shards of the current build")
        self.shards_completed = gauge("shards_completed", "Shards embedded")
        self.points = gauge("points", "Points in the collection of a generation", "state")
        self.points_expected = gauge(
            "points_expected",
            "Points that a generation should have according to its files",
            "state",
        )
        self.damaged = gauge(
            "damaged",
            "1 if the collection of live or the retained generation has lost points",
            "state",
        )
        self.damages = counter("damages", "Generations found damaged after their commit")
        self.validation_failures = counter(
            "validation_failures", "Generations rejected, by the gate's check", "check"
        )
        self.gate_result = gauge(
            "gate_result", "Figures of the gate's newest report: recall, probes, counts", "figure"
        )
        self.shards_requeued = counter(
            "shards_requeued", "Tasks sent again because nobody held them any more"
        )
        self.corrupt_files = counter(
            "corrupt_files", "Corrupt files that were rejected and made again", "kind"
        )
        self.action_failures = counter(
            "action_failures", "Failed actions; each is tried again", "action"
        )
        self.dependency_up = gauge(
            "dependency_up", "1 if the last use of redis, qdrant, store succeeded", "dependency"
        )
        self.missing_copies = gauge(
            "qdrant_missing_copies",
            "Copies of collections in use that peers of Qdrant lack, or that do not answer",
        )
        self._qdrant_peers = gauge(
            "qdrant_peer_up", "1 if a peer of Qdrant answered when it was asked last", "peer"
        )
        self.corpus_version = gauge("corpus_version", "Corpus versions", "state")
        self.oldest_unindexed_write = gauge(
            "oldest_unindexed_write_timestamp_seconds",
            "When the oldest write that live has not applied was acknowledged; 0: none",
        )
        self.erasure_due = gauge(
            "erasure_due_timestamp_seconds",
            "When the oldest deleted document must be physically erased; 0: none waits",
        )
        self.parked_documents = gauge(
            "parked_documents",
            "Documents left out of the index because no embedder gets through them",
        )
        self.strays = gauge(
            "strays",
            "Files in the store that are ignored: stray (foreign) or damaged",
            "kind",
        )
        self._begin_at_zero()

    def note_peer(self, peer: str, answers: bool) -> None:
        self._qdrant_peers.labels(peer).set(answers)

    def _begin_at_zero(self) -> None:
        """So that a counter's first event shows as an increase."""
        for counter, values in (
            (self.refreshes, OUTCOMES),
            (self.validation_failures, CHECKS),
            (self.corrupt_files, CORRUPT_KINDS),
            (self.action_failures, ACTIONS),
        ):
            for value in values:
                counter.labels(value)
        for phase in (*PHASES, TOTAL):
            self.refresh_duration.labels(phase)

"""The trainer's metrics, declared once."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

PHASES = ("batch", "loss", "learn")
#: Why a step went to another objective than the one drawn: errors' reasons, in lower case.
FALLBACKS = ("no_index", "dependency_unavailable", "not_found", "not_ready")
STEP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32)
PUBLISH_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class TrainerMetrics:
    """A registry of its own makes a second trainer possible in one process: in tests."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.steps = Counter(
            "realm_trainer_steps_total", "Training steps done", ["objective"], registry=registry
        )
        self.step_seconds = Histogram(
            "realm_trainer_step_duration_seconds",
            "Duration of a training step's phases: batch, loss, learn",
            ["phase"],
            buckets=STEP_BUCKETS,
            registry=registry,
        )
        self.loss = Gauge(
            "realm_trainer_loss", "Loss of the newest step", ["objective"], registry=registry
        )
        self.retrieval_utility = Gauge(
            "realm_trainer_retrieval_utility",
            "Mean log p(y|z,x) - log p(y|null,x) of retrieved passages, moving average",
            registry=registry,
        )
        self.current_step = Gauge(
            "realm_trainer_current_step", "Steps done since the base", registry=registry
        )
        self.published_step = Gauge(
            "realm_trainer_snapshot_published_step",
            "Step of the newest published snapshot",
            registry=registry,
        )
        self.published_timestamp = Gauge(
            "realm_trainer_snapshot_published_timestamp_seconds",
            "Unix time of the newest snapshot's publication",
            registry=registry,
        )
        self.publish_seconds = Histogram(
            "realm_trainer_snapshot_publish_duration_seconds",
            "Duration of a snapshot's publication",
            buckets=PUBLISH_BUCKETS,
            registry=registry,
        )
        self.waiting_seconds = Counter(
            "realm_trainer_waiting_for_index_seconds_total",
            "Time waited because the index lagged beyond its bound",
            registry=registry,
        )
        self.skipped = Counter(
            "realm_trainer_skipped_examples_total",
            "Sentences, passages, questions and candidates drawn and not used",
            ["objective", "reason"],
            registry=registry,
        )
        self.fallbacks = Counter(
            "realm_trainer_retrieval_fallbacks_total",
            "Steps that went to an objective without search, the index being away",
            ["reason"],
            registry=registry,
        )
        self.retrieving_step = Gauge(
            "realm_trainer_retrieving_step",
            "Step of the snapshot whose index serves retrieval in training",
            registry=registry,
        )
        self.passages = Gauge(
            "realm_trainer_passages", "Passages that training draws from", registry=registry
        )
        self.finished = Gauge(
            "realm_trainer_finished",
            "1 once REALM_MAX_STEPS is reached, or held-out retrieval improves no more",
            registry=registry,
        )
        self.held_out = Gauge(
            "realm_trainer_held_out_reciprocal_rank",
            "Mean reciprocal rank of held-out passages for their sentences, at the newest look",
            registry=registry,
        )
        self.best_step = Gauge(
            "realm_trainer_held_out_best_step",
            "Step of the best held-out reciprocal rank so far",
            registry=registry,
        )
        self.divergences = Counter(
            "realm_trainer_divergences_total",
            "Times that training left the finite numbers and went back to a checkpoint",
            registry=registry,
        )
        self.caution = Gauge(
            "realm_trainer_rate_caution",
            "Factor on every learning rate: 1, halved at each divergence",
            registry=registry,
        )
        self.caution.set(1)
        # A counter that appears with its first event shows Prometheus no increase at that event.
        for reason in FALLBACKS:
            self.fallbacks.labels(reason)
        for phase in PHASES:
            self.step_seconds.labels(phase)

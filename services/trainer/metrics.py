"""The trainer's metrics, for Prometheus and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from realm.errors import BadSettings

PHASES = ("batch", "loss", "learn")
#: Why a step went to another objective than the one drawn: errors' reasons, in lower case.
FALLBACKS = ("no_index", "dependency_unavailable", "not_found", "not_ready")
STEP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32)
PUBLISH_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class TrainerMetrics:
    """Declares the metrics. A test gives a registry of its own."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.steps = counter("realm_trainer_steps_total", "Training steps done", ["objective"])
        self.step_seconds = histogram(
            "realm_trainer_step_duration_seconds",
            "Duration of a training step's phases: batch, loss, learn",
            ["phase"],
            buckets=STEP_BUCKETS,
        )
        self.loss = gauge("realm_trainer_loss", "Loss of the newest step", ["objective"])
        self.retrieval_utility = gauge(
            "realm_trainer_retrieval_utility",
            "Mean log p(y|z,x) - log p(y|null,x) of retrieved passages, moving average",
        )
        self.current_step = gauge("realm_trainer_current_step", "Steps done since the base")
        self.published_step = gauge(
            "realm_trainer_snapshot_published_step", "Step of the newest published snapshot"
        )
        self.published_timestamp = gauge(
            "realm_trainer_snapshot_published_timestamp_seconds",
            "Unix time of the newest snapshot's publication",
        )
        self.publish_seconds = histogram(
            "realm_trainer_snapshot_publish_duration_seconds",
            "Duration of a snapshot's publication",
            buckets=PUBLISH_BUCKETS,
        )
        self.waiting_seconds = counter(
            "realm_trainer_waiting_for_index_seconds_total",
            "Time waited because the index lagged beyond its bound",
        )
        self.skipped = counter(
            "realm_trainer_skipped_examples_total",
            "Sentences, passages, questions and candidates drawn and not used",
            ["objective", "reason"],
        )
        self.fallbacks = counter(
            "realm_trainer_retrieval_fallbacks_total",
            "Steps given to an objective without search because the index was unavailable",
            ["reason"],
        )
        self.retrieving_step = gauge(
            "realm_trainer_retrieving_step",
            "Step of the snapshot whose index serves retrieval in training",
        )
        self.passages = gauge("realm_trainer_passages", "Passages that training draws from")
        self.finished = gauge(
            "realm_trainer_finished",
            "1 once REALM_MAX_STEPS is reached, or held-out retrieval improves no more",
        )
        self.held_out = gauge(
            "realm_trainer_held_out_reciprocal_rank",
            "Mean reciprocal rank of held-out passages for their sentences, newest evaluation",
        )
        self.best_step = gauge(
            "realm_trainer_held_out_best_step", "Step of the best held-out reciprocal rank so far"
        )
        self.divergences = counter(
            "realm_trainer_divergences_total",
            "Times that training diverged and went back to a checkpoint",
        )
        self.lr_scale = gauge(
            "realm_trainer_lr_scale", "Factor on every learning rate: 1, halved at each divergence"
        )
        self.lr_scale.set(1)
        # A counter that appears with its first event shows Prometheus no increase at that event.
        for reason in FALLBACKS:
            self.fallbacks.labels(reason)
        for phase in PHASES:
            self.step_seconds.labels(phase)


class TensorBoardWriter:
    """Writes scalars under a folder; without a folder it writes nothing.

    :raises BadSettings: if a folder is given and tensorboardX is not installed.
    """

    def __init__(self, folder: str = "") -> None:
        self._writer: Any = None
        if not folder:
            return
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise BadSettings(
                "REALM_TENSORBOARD_DIR needs the package tensorboardX:"
                " pip install 'realm[tensorboard]', or leave it empty"
            ) from error
        self._writer = SummaryWriter(folder)

    def write(self, chart: str, figures: Mapping[str, float], step: int) -> None:
        """`<chart>/<figure>` at a step."""
        if self._writer is not None:
            for name, figure in figures.items():
                self._writer.add_scalar(f"{chart}/{name}", figure, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

"""The trainer: does it learn, how fast, and does it wait."""

from __future__ import annotations

from tools.dashboards.spec import Dashboard, Row, lines, number, quantile

NOW = Row(
    "Now",
    (
        number("Step", "Steps done since the base.", "short", "max(realm_trainer_current_step{@})"),
        number(
            "Steps a second",
            "Of all objectives.",
            "cps",
            "sum(rate(realm_trainer_steps_total{@}[$__rate_interval]))",
        ),
        number(
            "Since the last snapshot",
            "Since the newest snapshot was published.",
            "s",
            "time() - max(realm_trainer_snapshot_published_timestamp_seconds{@} > 0)",
        ),
        number(
            "Retrieval utility",
            "REALM's RU: mean log p(y|z,x) - log p(y|null,x) of retrieved passages. Above 0 they"
            " help.",
            "short",
            "max(realm_trainer_retrieval_utility{@})",
        ),
        number(
            "Waiting for the index",
            "Share of the time that the trainer waits because the index lags beyond"
            " REALM_MAX_INDEX_LAG_STEPS.",
            "percentunit",
            "sum(rate(realm_trainer_waiting_for_index_seconds_total{@}[$__rate_interval]))",
            warn=0.2,
            bad=0.5,
        ),
        number(
            "Passages",
            "Passages that training draws from; those held out for probes are left out.",
            "short",
            "max(realm_trainer_passages{@})",
        ),
    ),
)
LEARNING = Row(
    "Learning",
    (
        lines(
            "Loss",
            "Loss of the newest step, by objective.",
            "short",
            ("{{objective}}", "realm_trainer_loss{@}"),
        ),
        lines(
            "Divergences",
            "Times that training went back to a checkpoint, and the factor on every rate since.",
            "short",
            ("divergences", "realm_trainer_divergences_total{@}"),
            ("factor", "realm_trainer_lr_scale{@}"),
        ),
        lines(
            "Retrieval utility",
            "Moving average; above 0 the retrieved passages help to predict.",
            "short",
            ("utility", "realm_trainer_retrieval_utility{@}"),
        ),
        lines(
            "Recall on probes",
            "Of the newest candidate's gate: documents that no objective trains on.",
            "percentunit",
            ("{{figure}}", 'max by (figure) (realm_indexer_gate_result{@,figure=~"probe_.*@.*"})'),
            ("mean reciprocal rank", 'max(realm_indexer_gate_result{@,figure="probe_mrr"})'),
            top=1,
        ),
        lines(
            "Skipped",
            "Sentences, passages, questions and candidates drawn and not used, by reason.",
            "cps",
            (
                "{{objective}} {{reason}}",
                "sum by (objective, reason) (rate("
                "realm_trainer_skipped_examples_total{@}[$__rate_interval]))",
            ),
        ),
    ),
)
SPEED = Row(
    "Speed",
    (
        lines(
            "Step rate",
            "Steps a second, by objective.",
            "cps",
            (
                "{{objective}}",
                "sum by (objective) (rate(realm_trainer_steps_total{@}[$__rate_interval]))",
            ),
            stacked=True,
        ),
        lines(
            "Phases of a step, p95",
            "batch: examples are made and candidates retrieved; loss; learn: gradient and update.",
            "s",
            ("{{phase}}", quantile(0.95, "realm_trainer_step_duration_seconds", "phase")),
        ),
        lines(
            "Steps trained and published",
            "The gap is what the newest snapshot does not know yet; retrieving: the snapshot whose"
            " index serves retrieval in training.",
            "short",
            ("trained", "realm_trainer_current_step{@}"),
            ("published", "realm_trainer_snapshot_published_step{@}"),
            ("retrieving with", "realm_trainer_retrieving_step{@}"),
        ),
        lines(
            "Publication",
            "Mean duration of a snapshot's publication, since the trainer started.",
            "s",
            (
                "mean",
                "realm_trainer_snapshot_publish_duration_seconds_sum{@}"
                " / realm_trainer_snapshot_publish_duration_seconds_count{@}",
            ),
        ),
        lines(
            "Waiting for the index",
            "Share of the time; 1 is a trainer that stands still for the index's sake.",
            "percentunit",
            (
                "waiting",
                "rate(realm_trainer_waiting_for_index_seconds_total{@}[$__rate_interval])",
            ),
            top=1,
        ),
        lines(
            "Steps without retrieval",
            "Steps that went to an objective without search, a second, by reason.",
            "cps",
            (
                "{{reason}}",
                "sum by (reason) (rate("
                "realm_trainer_retrieval_fallbacks_total{@}[$__rate_interval]))",
            ),
        ),
    ),
)

TRAINER = Dashboard(
    "realm-trainer",
    "realm / Trainer",
    "Whether the model learns, how fast, and what it waits for.",
    (NOW, LEARNING, SPEED),
)

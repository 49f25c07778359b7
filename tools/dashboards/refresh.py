"""The main dashboard: how far the index is behind, and what a refresh is at."""

from __future__ import annotations

from tools.dashboards.spec import Dashboard, Row, lines, number, percentiles

STALE_SECONDS = 1800

NOW = Row(
    "Now",
    (
        number(
            "Lag",
            "How long a newer snapshot than the live one has been there; 0: none is newer.",
            "s",
            "realm:index_lag_seconds{@}",
            warn=STALE_SECONDS / 2,
            bad=STALE_SECONDS,
        ),
        number(
            "Lag in steps",
            "Training steps from the live snapshot to the newest.",
            "short",
            "realm:index_lag_steps{@}",
        ),
        number(
            "Age",
            "Since the live snapshot was published. Grows in an idle cluster, which is no fault.",
            "s",
            "realm:index_age_seconds{@}",
        ),
        number(
            "Live generation",
            "Number of the generation that the newest entry of live/ names.",
            "none",
            "max(realm_indexer_active_generation{@})",
        ),
        number(
            "Gateway skew",
            "Generations that the furthest gateway is behind the live one.",
            "short",
            "realm:gateway_generation_skew{@}",
            warn=1,
            bad=2,
        ),
        number(
            "Refresh, p95 of an hour",
            "From a snapshot's publication until every ready gateway answers with it.",
            "s",
            'realm:refresh_duration_seconds:p95_1h{@,phase="total"}',
            warn=STALE_SECONDS / 2,
            bad=STALE_SECONDS,
        ),
    ),
)
LAG = Row(
    "Lag",
    (
        lines(
            "Lag over time",
            "Seconds since the oldest snapshot newer than the live one was published. A sawtooth"
            " is a cluster at work; a straight climb is one that does not refresh.",
            "s",
            ("lag", "realm:index_lag_seconds{@}"),
            ("age", "realm:index_age_seconds{@}"),
            warn=STALE_SECONDS / 2,
            bad=STALE_SECONDS,
        ),
        lines(
            "Steps",
            "Where the trainer is, what it published, what is being built, live and served.",
            "short",
            ("trained", "max(realm_trainer_current_step{@})"),
            ("published", "max(realm_trainer_snapshot_published_step{@})"),
            ("being built", "max(realm_indexer_building_step{@})"),
            ("live", "max(realm_indexer_active_step{@})"),
            ("served by {{instance}}", "realm_gateway_serving_step{@}"),
        ),
    ),
)
LATENCY = Row(
    "Refresh latency",
    (
        lines(
            "From publication to the last gateway",
            "Percentiles of whole refreshes over an hour.",
            "s",
            *percentiles('realm:refresh_duration_seconds:p50_1h{@,phase="total"}'),
            warn=STALE_SECONDS / 2,
            bad=STALE_SECONDS,
        ),
        lines(
            "The newest refresh by phase",
            "queue: until its build began; embed, load, validate; swap: until the commit;"
            " flip: until every gateway answered with it.",
            "s",
            (
                "{{phase}}",
                'max by (phase) (realm_indexer_last_refresh_duration_seconds{@,phase!="total"})',
            ),
            stacked=True,
        ),
        lines(
            "Phases, p95 of an hour",
            "Which phase is the slow one.",
            "s",
            ("{{phase}}", 'realm:refresh_duration_seconds:p95_1h{@,phase!="total"}'),
        ),
        lines(
            "Cost of a refresh",
            "Seconds of the embedders' devices spent for one refresh, mean of an hour.",
            "s",
            ("device-seconds", "realm:embedder_seconds_per_refresh:1h{@}"),
        ),
    ),
)
PROGRESS = Row(
    "Progress",
    (
        lines(
            "Shards of the build",
            "Passage files of the build under way, and those whose vectors are in the store.",
            "short",
            ("expected", "max(realm_indexer_shards_expected{@})"),
            ("embedded", "max(realm_indexer_shards_completed{@})"),
        ),
        lines(
            "Estimate",
            "Time until the last shard is embedded, at the rate of the last minutes.",
            "s",
            (
                "left",
                "sum(realm:shards_outstanding{@}) / clamp_min(sum(rate("
                'realm_embedder_shards_total{@,outcome="done"}[$__rate_interval])), 0.001)',
            ),
        ),
        lines(
            "Points",
            "Points in the collections of active generations, by the generation's state.",
            "short",
            ("{{state}}", "max by (state) (realm_indexer_points{@})"),
        ),
        lines(
            "Asked again, damaged, failed",
            "Results asked for twice, files refused and made again, actions to be tried again.",
            "cps",
            ("asked again", "sum(rate(realm_indexer_shards_requeued_total{@}[$__rate_interval]))"),
            ("damaged", "sum(rate(realm_indexer_corrupt_files_total{@}[$__rate_interval]))"),
            ("failed", "sum(rate(realm_indexer_action_failures_total{@}[$__rate_interval]))"),
        ),
    ),
)
GATE = Row(
    "Gate",
    (
        lines(
            "Outcomes in an hour",
            "Refreshes by how they ended; rejected ones are kept for inspection.",
            "short",
            ("{{outcome}}", "realm:refreshes:increase1h{@}"),
            stacked=True,
        ),
        lines(
            "What the gate refused",
            "Checks that refused a generation, in an hour.",
            "short",
            (
                "{{check}}",
                "sum by (check) (increase(realm_indexer_validation_failures_total{@}[1h]))",
            ),
            warn=1,
            bad=1,
        ),
        lines(
            "Recall",
            "Probe questions whose document is among the first five, of the newest candidate and"
            " of live; and the collection against exact search.",
            "percentunit",
            ("{{figure}}", 'max by (figure) (realm_indexer_gate_result{@,figure=~".*recall@.*"})'),
            top=1,
        ),
        lines(
            "Writes",
            "How long the oldest acknowledged write has not been in the live index.",
            "s",
            ("oldest unindexed write", "realm:oldest_unindexed_write_seconds{@}"),
            warn=60,
            bad=300,
        ),
    ),
)

REFRESH = Dashboard(
    "realm-refresh",
    "realm / Refresh",
    "How far the index is behind the model, and what a refresh is at.",
    (NOW, LAG, LATENCY, PROGRESS, GATE),
)

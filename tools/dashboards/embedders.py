"""The embedders and their queue."""

from __future__ import annotations

from tools.dashboards.spec import Dashboard, Row, lines, number, quantile

NOW = Row(
    "Now",
    (
        number(
            "Shards outstanding",
            "Shards of the build under way whose vectors are not in the store.",
            "short",
            "sum(realm:shards_outstanding{@})",
        ),
        number(
            "Embedders",
            "Processes of both kinds that give metrics.",
            "short",
            'sum(up{@,job=~"embedder|embedder-delta"})',
            warn=1,
            bad=0.5,
        ),
        number(
            "Passages",
            "Passages and questions encoded a second, by all embedders.",
            "cps",
            "sum(rate(realm_embedder_passages_total{@}[$__rate_interval]))",
        ),
        number(
            "Padding",
            "Share of the computed tokens that is padding, since the embedders started.",
            "percentunit",
            "sum(realm_embedder_padding_tokens_total{@}) / sum(realm_embedder_tokens_total{@})",
            warn=0.3,
            bad=0.5,
        ),
        number(
            "Taken over",
            "Share of the passages whose vectors did not have to be computed.",
            "percentunit",
            "sum(realm_embedder_passages_taken_over_total{@})"
            " / (sum(realm_embedder_passages_taken_over_total{@})"
            " + sum(realm_embedder_passages_total{@}))",
        ),
        number(
            "Oldest unindexed write",
            "Since the oldest write that live has not applied was acknowledged.",
            "s",
            "realm:oldest_unindexed_write_seconds{@}",
            warn=60,
            bad=300,
        ),
    ),
)
QUEUE = Row(
    "Queue",
    (
        lines(
            "Wait in the queue, p50",
            "From the indexer's asking to the beginning of the task.",
            "s",
            ("{{task}}", quantile(0.5, "realm_embedder_queue_wait_seconds", "task", "@i")),
        ),
        lines(
            "Wait in the queue, p95",
            "From the indexer's asking to the beginning of the task.",
            "s",
            ("{{task}}", quantile(0.95, "realm_embedder_queue_wait_seconds", "task", "@i")),
            warn=60,
            bad=300,
        ),
        lines(
            "Shards outstanding",
            "Should fall to 0 in every refresh.",
            "short",
            ("outstanding", "sum(realm:shards_outstanding{@})"),
        ),
        lines(
            "Asked again",
            "Results that the indexer asked for a second time: workers die, or are too few.",
            "cps",
            ("asked again", "sum(rate(realm_indexer_shards_requeued_total{@}[$__rate_interval]))"),
        ),
    ),
)
WORK = Row(
    "Work",
    (
        lines(
            "Tasks by outcome",
            "Tasks ended a second; only done ones wrote vectors.",
            "cps",
            (
                "{{outcome}}",
                "sum by (outcome) (rate(realm_embedder_shards_total{@i}[$__rate_interval]))",
            ),
            stacked=True,
        ),
        lines(
            "Task phases, p95",
            "load: the encoder; read: passages; encode; write: vectors. A shard should take 5 to"
            " 20 s.",
            "s",
            ("{{phase}}", quantile(0.95, "realm_embedder_shard_duration_seconds", "phase", "@i")),
            warn=20,
            bad=80,
        ),
        lines(
            "Passages by embedder",
            "Passages and questions encoded a second.",
            "cps",
            ("{{instance}}", "rate(realm_embedder_passages_total{@i}[$__rate_interval])"),
            stacked=True,
        ),
        lines(
            "Tokens by embedder",
            "Tokens computed a second, padding among them.",
            "cps",
            ("{{instance}}", "rate(realm_embedder_tokens_total{@i}[$__rate_interval])"),
            stacked=True,
        ),
        lines(
            "Step loaded",
            "Training step of the newest encoder in memory.",
            "short",
            ("{{job}} {{instance}}", "realm_embedder_loaded_step{@i}"),
        ),
        lines(
            "Time at work",
            "Share of its time that an embedder spends in tasks.",
            "percentunit",
            (
                "{{job}} {{instance}}",
                "sum by (job, instance) (rate("
                "realm_embedder_shard_duration_seconds_sum{@i}[$__rate_interval]))",
            ),
            top=1,
        ),
    ),
)

EMBEDDERS = Dashboard(
    "realm-embedders",
    "realm / Embedders and queue",
    "Whether embedding keeps up, and how well the devices are used.",
    (NOW, QUEUE, WORK),
    instances="realm_embedder_loaded_step",
)

"""The gateways: objectives, where the time goes, what they answer with."""

from __future__ import annotations

from tools.dashboards.spec import Dashboard, Row, lines, number, percentiles, quantile

QUESTIONS = 'grpc_service=~"realm[.]v1[.](Retrieval|Answer)Service"'

OBJECTIVES = Row(
    "Objectives: 99.9% answered; 99% of searches within 1 s, of answers within 2.5 s",
    (
        number(
            "Answered, 6 h",
            "Share of questions that did not fail by our fault.",
            "percentunit",
            "1 - realm:gateway_error_ratio:rate6h{@}",
            warn=0.999,
            bad=0.994,
        ),
        number(
            "In time, 6 h",
            "Share of searches within 1 s and answers within 2.5 s.",
            "percentunit",
            "1 - realm:gateway_slow_ratio:rate6h{@}",
            warn=0.99,
            bad=0.94,
        ),
        number(
            "Questions",
            "Searches and answers a second.",
            "reqps",
            f"sum(rate(grpc_server_handled_total{{@,{QUESTIONS}}}[$__rate_interval]))",
        ),
        number(
            "In flight",
            "Questions being answered now, by all gateways.",
            "short",
            "sum(realm_gateway_inflight_requests{@})",
            warn=128,
            bad=256,
        ),
        number(
            "Gateways",
            "Processes that give metrics.",
            "short",
            'sum(up{@,job="gateway"})',
            warn=1,
            bad=0.5,
        ),
        number(
            "Lag served",
            "The worst gateway's lag behind the newest snapshot.",
            "s",
            "max((time() - realm_gateway_lagging_since_timestamp_seconds{@})"
            " * (realm_gateway_lagging_since_timestamp_seconds{@} > bool 0))",
            warn=900,
            bad=1800,
        ),
    ),
)
BUDGET = Row(
    "Error budget",
    (
        lines(
            "Availability burn",
            "How many times faster than allowed the budget of failures is spent; 14.4 in both"
            " 5 minutes and an hour pages.",
            "none",
            ("5 m", "realm:gateway_error_ratio:rate5m{@} / 0.001"),
            ("30 m", "realm:gateway_error_ratio:rate30m{@} / 0.001"),
            ("1 h", "realm:gateway_error_ratio:rate1h{@} / 0.001"),
            ("6 h", "realm:gateway_error_ratio:rate6h{@} / 0.001"),
            warn=6,
            bad=14.4,
        ),
        lines(
            "Latency burn",
            "How many times faster than allowed the budget of late answers is spent.",
            "none",
            ("5 m", "realm:gateway_slow_ratio:rate5m{@} / 0.01"),
            ("30 m", "realm:gateway_slow_ratio:rate30m{@} / 0.01"),
            ("1 h", "realm:gateway_slow_ratio:rate1h{@} / 0.01"),
            ("6 h", "realm:gateway_slow_ratio:rate6h{@} / 0.01"),
            warn=6,
            bad=14.4,
        ),
    ),
)
TRAFFIC = Row(
    "Traffic and latency",
    (
        lines(
            "Calls",
            "Calls ended a second, by method and status.",
            "reqps",
            (
                "{{grpc_method}} {{grpc_code}}",
                "sum by (grpc_method, grpc_code) (rate("
                'grpc_server_handled_total{@i,grpc_service=~"realm[.]v1[.].*",job="gateway"}'
                "[$__rate_interval]))",
            ),
        ),
        lines(
            "Latency",
            "Percentiles of five minutes, by method.",
            "s",
            *percentiles("realm:gateway_latency_seconds:p50_5m{@}", "grpc_method"),
            warn=1,
            bad=2.5,
        ),
        lines(
            "Stages, p95",
            "Time of a question in a stage, waiting for its batch included.",
            "s",
            ("{{stage}}", quantile(0.95, "realm_gateway_stage_duration_seconds", "stage", "@i")),
        ),
        lines(
            "Batch fill",
            "Items computed together, mean. Near 1 under load means that batches do not form.",
            "short",
            (
                "{{stage}}",
                "sum by (stage) (rate(realm_gateway_batch_items_sum{@i}[$__rate_interval]))"
                " / sum by (stage) (rate(realm_gateway_batch_items_count{@i}[$__rate_interval]))",
            ),
        ),
        lines(
            "Passages found",
            "Mean number of passages found for a question.",
            "short",
            (
                "mean",
                "sum(rate(realm_gateway_retrieved_passages_sum{@i}[$__rate_interval]))"
                " / sum(rate(realm_gateway_retrieved_passages_count{@i}[$__rate_interval]))",
            ),
        ),
        lines(
            "In flight by gateway",
            "Questions being answered now; REALM_MAX_INFLIGHT is where gateways refuse.",
            "short",
            ("{{instance}}", "realm_gateway_inflight_requests{@i}"),
        ),
    ),
)
VERSIONS = Row(
    "Versions",
    (
        lines(
            "Generation served",
            "What new questions are answered with; lines that part are gateways held back.",
            "none",
            ("{{instance}}", "realm_gateway_serving_generation{@i}"),
            ("live", "max(realm_indexer_active_generation{@})"),
        ),
        lines(
            "Loading a generation",
            "Mean time to load and warm a generation's models since the gateway started.",
            "s",
            (
                "{{instance}}",
                "realm_gateway_generation_load_seconds_sum{@i}"
                " / realm_gateway_generation_load_seconds_count{@i}",
            ),
        ),
        lines(
            "Flips and failed loads in an hour",
            "Generations taken over, and live generations that could not be loaded.",
            "short",
            ("flips {{instance}}", "increase(realm_gateway_generation_flips_total{@i}[1h])"),
            (
                "failed {{instance}}",
                "increase(realm_gateway_generation_load_failures_total{@i}[1h])",
            ),
        ),
    ),
)

GATEWAY = Dashboard(
    "realm-gateway",
    "realm / Gateway SLO",
    "Whether questions are answered, in time, and with what.",
    (OBJECTIVES, BUDGET, TRAFFIC, VERSIONS),
    instances="realm_gateway_serving_step",
)

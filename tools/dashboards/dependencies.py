"""What the services need: Redis, Qdrant, the store, each other, and the machine."""

from __future__ import annotations

from tools.dashboards.spec import Dashboard, Row, lines, number, quantile

OURS = 'job=~"gateway|indexer|trainer|embedder|embedder-delta"'

NOW = Row(
    "Now",
    (
        *(
            number(
                name.capitalize(),
                f"1 if the indexer's last use of {words} succeeded.",
                "bool_on_off",
                f'realm:dependency_up:min{{@,dependency="{name}"}}',
                warn=1,
                bad=0.5,
            )
            for name, words in (("redis", "Redis"), ("qdrant", "Qdrant"), ("store", "the store"))
        ),
        number(
            "Processes up",
            "Share of the known processes that give metrics.",
            "percentunit",
            f"avg(up{{@,{OURS}}})",
            warn=1,
            bad=0.8,
        ),
        number(
            "Indexers that lead",
            "One leads, the others stand by. None: writes are refused.",
            "short",
            "sum(realm_indexer_leads{@})",
            warn=1,
            bad=0.5,
        ),
        number(
            "Restarts in an hour",
            "Processes that began anew.",
            "short",
            f"sum(changes(process_start_time_seconds{{@,{OURS}}}[1h]))",
            warn=1,
            bad=5,
        ),
        number(
            "Versions",
            "Versions of realm that run; more than one outside a rollout is a mistake.",
            "short",
            "count(count by (version) (realm_build_info{@}))",
            warn=2,
            bad=3,
        ),
    ),
)
REACHED = Row(
    "Reached",
    (
        lines(
            "Dependencies",
            "1 if the indexer's last use succeeded.",
            "bool_on_off",
            ("{{dependency}}", "realm:dependency_up:min{@}"),
            top=1,
        ),
        lines(
            "Processes",
            "Processes that give metrics, by service.",
            "short",
            ("{{job}}", f"sum by (job) (up{{@,{OURS}}})"),
        ),
        lines(
            "Qdrant as gateways see it",
            "Search in the live collection, the way there included.",
            "s",
            ("p50", quantile(0.5, "realm_gateway_stage_duration_seconds", "", '@,stage="search"')),
            ("p95", quantile(0.95, "realm_gateway_stage_duration_seconds", "", '@,stage="search"')),
            ("p99", quantile(0.99, "realm_gateway_stage_duration_seconds", "", '@,stage="search"')),
        ),
        lines(
            "Redis as embedders see it",
            "Wait in the queue, p95 of all tasks.",
            "s",
            ("p95", quantile(0.95, "realm_embedder_queue_wait_seconds", "")),
        ),
        lines(
            "The indexer as others see it",
            "Calls that the indexer ended a second, by method and status.",
            "reqps",
            (
                "{{grpc_method}} {{grpc_code}}",
                "sum by (grpc_method, grpc_code) (rate("
                'grpc_server_handled_total{@,job="indexer"}[$__rate_interval]))',
            ),
        ),
        lines(
            "Failed actions of the indexer",
            "Actions that failed and will be tried again, a second.",
            "cps",
            (
                "{{action}}",
                "sum by (action) (rate(realm_indexer_action_failures_total{@}[$__rate_interval]))",
            ),
        ),
    ),
)
MACHINE = Row(
    "Machine",
    (
        lines(
            "Memory",
            "Resident memory, by process.",
            "bytes",
            ("{{job}} {{instance}}", f"process_resident_memory_bytes{{@,{OURS}}}"),
        ),
        lines(
            "Processors",
            "Cores in use, by process.",
            "short",
            (
                "{{job}} {{instance}}",
                f"rate(process_cpu_seconds_total{{@,{OURS}}}[$__rate_interval])",
            ),
            stacked=True,
        ),
        lines(
            "Open files",
            "Share of the file descriptors that a process may open.",
            "percentunit",
            (
                "{{job}} {{instance}}",
                f"process_open_fds{{@,{OURS}}} / process_max_fds{{@,{OURS}}}",
            ),
            warn=0.7,
            bad=0.9,
            top=1,
        ),
        lines(
            "Uptime",
            "Since the process began.",
            "s",
            ("{{job}} {{instance}}", f"time() - process_start_time_seconds{{@,{OURS}}}"),
        ),
    ),
)

DEPENDENCIES = Dashboard(
    "realm-dependencies",
    "realm / Dependencies",
    "Whether the services reach what they need, and what they use of the machine.",
    (NOW, REACHED, MACHINE),
)

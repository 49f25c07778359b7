"""Rules and panels ask only for what the code gives, with the labels it gives."""

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from realm.records.snapshots import Lag
from realm.records.states import PHASES, TOTAL
from services.embedder import metrics as embedder_metrics
from services.embedder.tasks import Outcome
from services.gateway.metrics import GatewayMetrics
from services.indexer.metrics import OUTCOMES
from tests.observe.promql import (
    ALWAYS,
    SCRAPE_LABELS,
    Selector,
    grouping,
    queries,
    recorded,
    rules,
    selectors,
    series,
    values,
)
from tools.metrics_docs import catalogue, known_series

#: What the live objects are called in tests/observe/test_live.py and in the manifests.
JOBS = {"gateway", "indexer", "trainer", "embedder", "embedder-delta", "qdrant"}


def expressions() -> list[tuple[str, str]]:
    """Where it stands, and the expression."""
    named = [(each.get("record") or each["alert"], each["expr"]) for each in rules()]
    return named + [(f"{board}: {panel}", expr) for board, panel, expr in queries()]


@pytest.mark.parametrize(("where", "expr"), expressions())
def test_series_and_labels_exist(where: str, expr: str) -> None:
    known, initial = series(), values()
    used = selectors(expr)
    assert used or where == ALWAYS, where
    for each in used:
        assert each.name in known, f"{where}: {each.name}"
        for label, operator, value in each.matchers:
            assert label in known[each.name], f"{where}: {each.name} has no {label}"
            declared = JOBS if label == "job" else initial.get((each.name, label))
            if declared and not value.startswith("$"):
                matches = [one for one in declared if matched(operator, value, one)]
                assert matches, f"{where}: {label}{operator}{value} of {each.name}"
    labels = set[str]().union(*(known[each.name] for each in used)) | {"le"}
    assert grouping(expr) <= labels, where


def matched(operator: str, pattern: str, value: str) -> bool:
    if operator in ("=", "!="):
        return (value == pattern) is (operator == "=")
    return bool(re.fullmatch(pattern, value)) is (operator == "=~")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ('sum by (a) (rate(x_total{b="1,}c",d=~"e|f"}[5m])) > bool 0',
         [Selector("x_total", (("b", "=", "1,}c"), ("d", "=~", "e|f")))]),
        ("time() - max by (namespace) (x > 0) unless on (namespace) r:y:min == 0",
         [Selector("x", ()), Selector("r:y:min", ())]),
    ],
)  # fmt: skip
def test_expressions_are_understood(expr: str, expected: list[Selector]) -> None:
    assert selectors(expr) == expected


@pytest.mark.parametrize("rule", [each for each in rules() if "record" in each], ids=str)
def test_recorded_series_keep_the_namespace(rule: dict[str, Any]) -> None:
    assert "namespace" in recorded()[rule["record"]]


def test_every_declared_metric_has_words_and_a_unit_of_prometheus() -> None:
    for families in catalogue().values():
        for each in families:
            assert each.words
            assert not re.search(r"_(ms|milliseconds|minutes|kb|percent)(_|$)", each.name)
            assert not set(each.labels) & SCRAPE_LABELS


def test_counters_show_zero_before_their_first_event() -> None:
    """Else the first refused generation would be no increase, and raise no alert."""
    initial = values()
    assert initial["realm_indexer_refreshes_total", "outcome"] == set(OUTCOMES)
    assert initial["realm_indexer_refresh_duration_seconds_count", "phase"] == {*PHASES, TOTAL}
    assert {"count", "probes"} <= initial["realm_indexer_validation_failures_total", "check"]
    assert {"reconcile", "apply_changes", "load_shards"} <= initial[
        "realm_indexer_action_failures_total", "action"
    ]
    assert set(embedder_metrics.OUTCOMES) == {str(each) for each in Outcome}


def test_a_gateway_that_is_up_to_date_shows_no_lag() -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics.show_lag(Lag(40, 1700000000.5))
    name = "realm_gateway_lagging_since_timestamp_seconds"
    assert registry.get_sample_value(name) == 1700000000.5
    metrics.show_lag(Lag())
    assert registry.get_sample_value(name) == 0
    assert name in known_series()

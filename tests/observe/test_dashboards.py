"""Dashboards are as their code says, and say what they show."""

from collections import Counter
from typing import Any

import pytest

from tests.observe.promql import dashboards, panels

ALL = [(name, panel) for name, board in dashboards().items() for panel in panels(board)]
IDS = [f"{name}: {panel['title']}" for name, panel in ALL]


@pytest.mark.parametrize(("name", "panel"), ALL, ids=IDS)
def test_every_panel_has_unit_description_and_thresholds(name: str, panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"], name
    assert panel["description"].endswith((".", "refuse."))
    first = defaults["thresholds"]["steps"][0]
    assert first["value"] is None
    steps = [each["value"] for each in defaults["thresholds"]["steps"][1:]]
    assert steps == sorted(steps)
    assert panel["targets"]


@pytest.mark.parametrize(("name", "panel"), ALL, ids=IDS)
def test_the_data_source_can_be_chosen(name: str, panel: dict[str, Any]) -> None:
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "$datasource"}, name


@pytest.mark.parametrize(("name", "panel"), ALL, ids=IDS)
def test_rates_follow_the_scrape_interval(name: str, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        expr = target["expr"]
        assert "rate(" not in expr or "[$__rate_interval]" in expr, name
        assert "$namespace" in expr, name


@pytest.mark.parametrize("name", dashboards())
def test_dashboards_lead_to_one_another_and_show_swaps(name: str) -> None:
    board = dashboards()[name]
    assert board["uid"] == name
    assert board["tags"] == board["links"][0]["tags"]
    assert board["links"][0]["includeVars"]
    assert board["links"][0]["keepTime"]
    variables = [each["name"] for each in board["templating"]["list"]]
    assert variables[:2] == ["datasource", "namespace"]
    assert [each["name"] for each in board["annotations"]["list"]] == ["Swaps"]
    assert "instance" in variables or "$instance" not in str(board["panels"])
    assert max(Counter(panel["id"] for panel in board["panels"]).values()) == 1

"""Charts show what the report says, in figures that Plotly understands."""

import copy
from typing import Any

import plotly.graph_objects
import pytest

from realm.reporting.charts import Chart, charts
from tests.unit.reporting.run import REJECTED, a_run


def chart(name: str, report: dict[str, Any] | None = None) -> Chart:
    return next(each for each in charts(report or a_run()) if each.name == name)


def coloured(value: Any) -> Any:
    """As the page does: names of colours become colours."""
    if isinstance(value, dict):
        return {
            name: "#123456" if name == "color" else coloured(each) for name, each in value.items()
        }
    return [coloured(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("made", charts(a_run()), ids=lambda made: str(made.name))
def test_plotly_accepts_every_figure(made: Chart) -> None:
    plotly.graph_objects.Figure(coloured(copy.deepcopy(made.figure)))


def test_phases_of_a_refresh_stand_on_one_another() -> None:
    report = a_run()
    figure = chart("refreshes", report).figure
    assert figure["layout"]["barmode"] == "stack"
    heights: dict[str, float] = {}
    for bar in figure["data"]:
        for generation, seconds in zip(bar["x"], bar["y"], strict=True):
            heights[generation] = heights.get(generation, 0.0) + seconds
    totals = {
        str(each["generation"]): each["figures"]["phase_total"]
        for each in report["refreshes"]
        if each["went_live"]
    }
    assert heights == pytest.approx(totals)


def test_swaps_are_marked_where_they_were() -> None:
    report = a_run()
    layout = chart("lag", report).figure["layout"]
    assert [each["x0"] for each in layout["shapes"]] == [each["at"] for each in report["swaps"]]
    assert str(REJECTED) not in {each["text"] for each in layout["annotations"]}


def test_a_rejected_generation_is_seen() -> None:
    rejected = next(each for each in chart("outcomes").figure["data"] if each["name"] == "rejected")
    assert rejected["x"] == [str(REJECTED)]


def test_what_was_not_observed_is_not_drawn() -> None:
    assert charts({}) == []

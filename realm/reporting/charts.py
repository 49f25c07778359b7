"""A report's charts as Plotly's plain figures: what is drawn, not how it is coloured.

The page puts the colours of the reader's light or dark mode in the place of `series-N`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from realm.records.states import PHASES, TOTAL, phases_in
from realm.reporting.history import LIVE_PROBE

Report = Mapping[str, Any]
Figure = dict[str, Any]

RECALLS = ("recall@1", "recall@5", "mrr")
OUTCOMES = ("live", "rejected", "abandoned", "under way")
#: More swaps than this are lines without a label.
LABELLED_SWAPS = 12


@dataclass(frozen=True, slots=True)
class Chart:
    """`name` is its id in the page; `words` say what to look for."""

    name: str
    title: str
    words: str
    figure: Figure


def charts(report: Report) -> list[Chart]:
    """Those for which the report has data."""
    made = (
        _lag(report),
        _refreshes(report),
        _outcomes(report),
        _recall(report),
        _questions(report),
        _latency(report),
    )
    return [each for each in made if each.figure["data"]]


def _lag(report: Report) -> Chart:
    points = report.get("lag", [])
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "index lag",
        "x": [each["at"] for each in points],
        "y": [each["seconds"] for each in points],
        "customdata": [each["steps"] for each in points],
        "fill": "tozeroy",
        "line": {"color": "series-0", "width": 2},
        "hovertemplate": "%{y:.1f} s, %{customdata} steps<extra></extra>",
    }
    swaps = report.get("swaps", [])
    layout = _layout("seconds into the run", "seconds behind")
    layout["showlegend"] = False
    layout["shapes"] = [_mark(each["at"]) for each in swaps]
    if len(swaps) <= LABELLED_SWAPS:
        layout["annotations"] = [_label(each["at"], str(each["generation"])) for each in swaps]
    return Chart(
        "lag",
        "Index lag over time",
        "How long the newest model has waited to answer. Dotted lines are swaps, with the"
        " generation that went live.",
        {"data": [line] if points else [], "layout": layout},
    )


def _refreshes(report: Report) -> Chart:
    phases = {
        each["generation"]: phases_in(each["figures"]) for each in report.get("refreshes", [])
    }
    done = {number: each for number, each in phases.items() if TOTAL in each}
    names = [name for name in PHASES if any(name in each for each in done.values())]
    bars = [
        {
            "type": "bar",
            "name": name,
            "x": [str(number) for number in done],
            "y": [each.get(name, 0.0) for each in done.values()],
            "marker": {"color": f"series-{place}"},
            "hovertemplate": "%{y:.2f} s<extra>" + name + "</extra>",
        }
        for place, name in enumerate(names)
    ]
    layout = {**_layout("generation", "seconds", category=True), "barmode": "stack"}
    return Chart(
        "refreshes",
        "Refresh latency by phase",
        "From a snapshot's publication to the last gateway's answer with it.",
        {"data": bars if done else [], "layout": layout},
    )


def _outcomes(report: Report) -> Chart:
    refreshes = report.get("refreshes", [])
    traces = []
    for outcome, colour in zip(OUTCOMES, ("good", "bad", "bad", "series-0"), strict=True):
        found = [each for each in refreshes if each.get("outcome", each["state"]) == outcome]
        if found:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": outcome,
                    "x": [str(each["generation"]) for each in found],
                    "y": [outcome for _ in found],
                    "text": [each["why"] for each in found],
                    "marker": {"color": colour, "size": 12, "symbol": _symbol(outcome)},
                    "hovertemplate": "generation %{x}: %{text}<extra></extra>",
                }
            )
    layout = _layout("generation", "", category=True)
    layout["showlegend"] = False
    layout["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": [*OUTCOMES]}
    layout["xaxis"]["categoryarray"] = [str(each["generation"]) for each in refreshes]
    return Chart(
        "outcomes",
        "Outcomes of refreshes",
        "A generation goes live, is rejected because it answers worse, or is abandoned.",
        {"data": traces, "layout": layout},
    )


def _recall(report: Report) -> Chart:
    rows = report.get("held_out_recall", [])
    lines = [
        _line(name, rows, "generation", name, place)
        for place, name in enumerate(RECALLS)
        if any(name in row for row in rows)
    ]
    before = [
        {"generation": each["generation"], "value": each["figures"][f"{LIVE_PROBE}recall@5"]}
        for each in report.get("refreshes", [])
        if f"{LIVE_PROBE}recall@5" in each["figures"]
    ]
    if before:
        lines.append(_line("recall@5 of the one before", before, "generation", "value", 3, "dot"))
    return Chart(
        "recall",
        "Recall on probe questions",
        "Questions from documents that nothing trains on.",
        {"data": lines, "layout": _layout("generation", "share", category=True)},
    )


def _questions(report: Report) -> Chart:
    rows = report.get("questions_over_time", [])
    bars = [
        {
            "type": "bar",
            "name": name,
            "x": [each["at"] for each in rows],
            "y": [each[name] for each in rows],
            "marker": {"color": colour},
        }
        for name, colour in (("answered", "series-0"), ("failed", "bad"))
    ]
    layout = {**_layout("seconds into the run", "questions"), "barmode": "stack"}
    layout["shapes"] = [_mark(each["at"]) for each in report.get("swaps", [])]
    return Chart(
        "questions",
        "Questions asked",
        "All questions of the run; failures are red.",
        {"data": bars if rows else [], "layout": layout},
    )


def _latency(report: Report) -> Chart:
    rows = [each for each in report.get("questions_over_time", []) if "p50_ms" in each]
    lines = [
        _line("median", rows, "at", "p50_ms", 0),
        _line("99th percentile", rows, "at", "p99_ms", 1),
    ]
    layout = _layout("seconds into the run", "milliseconds")
    layout["shapes"] = [_mark(each["at"]) for each in report.get("swaps", [])]
    return Chart(
        "latency",
        "Latency of the gateway",
        "As the client saw it, searches and answers together. Dotted lines are swaps.",
        {"data": lines if rows else [], "layout": layout},
    )


def _line(
    name: str, rows: Sequence[Mapping[str, Any]], x: str, y: str, colour: int, dash: str = "solid"
) -> dict[str, Any]:
    known = [each for each in rows if each.get(y) is not None]
    category = x == "generation"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [str(each[x]) if category else each[x] for each in known],
        "y": [each[y] for each in known],
        "line": {"color": f"series-{colour}", "width": 2, "dash": dash},
    }


def _layout(x: str, y: str, *, category: bool = False) -> dict[str, Any]:
    return {
        "xaxis": {
            "title": {"text": x},
            "automargin": True,
            **({"type": "category"} if category else {}),
        },
        "yaxis": {"title": {"text": y}, "automargin": True, "rangemode": "tozero"},
        "showlegend": True,
    }


def _mark(at: float) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": "mark", "width": 1, "dash": "dot"},
    }


def _label(at: float, text: str) -> dict[str, Any]:
    return {
        "x": at,
        "yref": "paper",
        "y": 1,
        "yanchor": "bottom",
        "text": text,
        "showarrow": False,
        "font": {"size": 11},
    }


def _symbol(outcome: str) -> str:
    return {"live": "circle", "under way": "circle-open"}.get(outcome, "x")

"""A report as one self-contained HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from realm.reporting.charts import Chart, charts

Report = Mapping[str, Any]


def page(report: Report, title: str) -> str:
    """HTML that loads nothing from elsewhere."""
    drawn = charts(report)
    template = Template((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        about=html.escape(_about(report)),
        figures="\n".join(_figure(name, value) for name, value in summary(report)),
        charts="\n".join(map(_section, drawn)),
        rows="\n".join(map(_row, report.get("refreshes", []))),
        plotly=get_plotlyjs(),
        # Else a "</script>" in a text would end the script.
        data=json.dumps({each.name: each.figure for each in drawn}).replace("</", "<\\/"),
    )


def summary(report: Report) -> list[tuple[str, str]]:
    """The figures that show at a glance whether all is well."""
    queries = report.get("queries", {})
    total = report.get("refresh_latency_seconds", {}).get("total", {})
    lags = [each["seconds"] for each in report.get("lag", [])]
    found = [("generations live", str(report.get("generations_live", 0)))]
    if total:
        found.append(("median refresh", f"{total['p50']:.1f} s"))
    if lags:
        found.append(("longest lag", f"{max(lags):.0f} s"))
    if queries.get("total"):
        found.append(("questions", f"{queries['total']:,}"))
        found.append(("failed", f"{queries['failed']:,}"))
        found.append(("of mixed versions", f"{queries['mixed_version']:,}"))
    return found


def _about(report: Report) -> str:
    machine = report.get("machine", {})
    parts = [f"{report['seconds']:.0f} s" if "seconds" in report else ""]
    if machine:
        parts.append(f"{machine.get('cores')} cores of {machine.get('processor')}")
    return ", ".join(part for part in parts if part)


def _figure(name: str, value: str) -> str:
    return f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"


def _section(chart: Chart) -> str:
    return (
        f'<section><h2 id="about-{chart.name}">{html.escape(chart.title)}</h2>'
        f"<p>{html.escape(chart.words)}</p>"
        f'<div class="chart" id="{chart.name}" role="img" aria-labelledby="about-{chart.name}">'
        "</div></section>"
    )


def _row(refresh: Mapping[str, Any]) -> str:
    total = refresh["figures"].get("phase_total")
    cells = (
        str(refresh["generation"]),
        str(refresh["step"]),
        refresh.get("outcome", refresh["state"]),
        "" if total is None else f"{total:.1f} s",
        refresh["why"],
    )
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"

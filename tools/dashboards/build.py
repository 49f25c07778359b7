"""Turns the boards in `boards/` into Grafana's JSON, with the SDK.

In their queries `{@` stands for the chosen namespaces, `{@i` for the chosen instances in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

BOARDS = Path(__file__).parent / "boards"
NAMESPACE = 'namespace=~"$namespace"'
INSTANCE = f'{NAMESPACE},instance=~"$instance"'
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
TAG = "realm"
SWAPS = f"changes(realm_indexer_last_swap_timestamp_seconds{{{NAMESPACE}}}[$__rate_interval]) > 0"
GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves, as PromQL by legend, or one `number`. `bad` below `warn`: less is worse."""

    title: str
    what: str
    unit: str
    lines: dict[str, str] = field(default_factory=dict)
    number: str = ""
    legend: str = ""
    warn: float | None = None
    bad: float | None = None
    stacked: bool = False
    top: float | None = None
    width: int = 12


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Board:
    """`instances` is a metric whose instances can be chosen from; none: no such choice."""

    uid: str
    title: str
    what: str
    rows: list[dict[str, Any]]
    instances: str = ""


def files() -> dict[str, str]:
    """Name and content of each file for Grafana."""
    boards = [Board(**yaml.safe_load(file.read_text())) for file in sorted(BOARDS.glob("*.yaml"))]
    return {f"{each.uid}.json": to_json(each) for each in boards}


def to_json(spec: Board) -> str:
    """The dashboard as Grafana imports it."""
    board = (
        dashboard.Dashboard(spec.title)
        .uid(spec.uid)
        .description(spec.what)
        .tags([TAG])
        .timezone("browser")
        .refresh("10s")
        .time("now-3h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("realm")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Swaps")
            .datasource(SOURCE)
            .enable(True)
            .icon_color("blue")
            .expr(SWAPS)
        )
    )
    _variables(board, spec)
    for row in (Row(**each) for each in spec.rows):
        board.with_row(dashboard.Row(row.title))
        for panel in (Panel(**each) for each in row.panels):
            board.with_panel(_number(panel) if panel.number else _lines(panel))
    made = board.build()
    for number, each in enumerate(made.panels or [], start=1):
        each.id_val = number
    return str(JSONEncoder(sort_keys=True, indent=2).encode(made)) + "\n"


def _variables(board: dashboard.Dashboard, spec: Board) -> None:
    board.with_variable(
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    )
    board.with_variable(_choice("namespace", "label_values(realm_build_info, namespace)"))
    if spec.instances:
        query = f'label_values({spec.instances}{{namespace=~"$namespace"}}, instance)'
        board.with_variable(_choice("instance", query))


def _choice(name: str, query: str) -> dashboard.QueryVariable:
    """One, several or all; a label that is absent counts as empty, which all includes."""
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _number(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .title(panel.title)
        .description(panel.what)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(4)
        .height(4)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
        .with_target(_target(panel.number, panel.legend))
    )


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.what)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(8)
        .axis_soft_min(0)
        .fill_opacity(30 if panel.stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .thresholds(_thresholds(panel))
    )
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if panel.top is not None:
        made.max(panel.top)
    if panel.warn is not None:
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        made.thresholds_style(style)
    for index, (legend, expr) in enumerate(panel.lines.items()):
        made.with_target(_target(expr, legend, index))
    return made


def _target(expr: str, legend: str, index: int = 0) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(expr.replace("{@i", "{" + INSTANCE).replace("{@", "{" + NAMESPACE))
        .legend_format(legend or "__auto")
        .ref_id(chr(ord("A") + index))
        .datasource(SOURCE)
    )


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """None as the first step's value is Grafana's minus infinity."""
    less_is_worse = panel.warn is not None and panel.bad is not None and panel.bad < panel.warn
    if less_is_worse:
        steps = [(None, RED), (panel.bad, ORANGE), (panel.warn, GREEN)]
    else:
        steps = [(None, GREEN), (panel.warn, ORANGE), (panel.bad, RED)]
    kept = [
        Threshold(value=value, color=colour)
        for place, (value, colour) in enumerate(steps)
        if not place or value is not None
    ]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(kept)

"""Turns specifications into Grafana's JSON, with the SDK."""

from __future__ import annotations

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

from tools.dashboards.spec import NAMESPACE, Dashboard, Panel, Query, Row

SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
TAG = "realm"
SWAPS = f"changes(realm_indexer_last_swap_timestamp_seconds{{{NAMESPACE}}}[$__rate_interval]) > 0"
HEIGHTS = {"lines": 8, "number": 4}
GREEN, ORANGE, RED = "green", "orange", "red"


def to_json(spec: Dashboard) -> str:
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
    for row in spec.rows:
        _row(board, row)
    made = board.build()
    for number, panel in enumerate(made.panels or [], start=1):
        panel.id_val = number
    return str(JSONEncoder(sort_keys=True, indent=2).encode(made)) + "\n"


def _variables(board: dashboard.Dashboard, spec: Dashboard) -> None:
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


def _row(board: dashboard.Dashboard, row: Row) -> None:
    board.with_row(dashboard.Row(row.title))
    for panel in row.panels:
        board.with_panel(_number(panel) if panel.kind == "number" else _lines(panel))


def _number(panel: Panel) -> stat.Panel:
    made = (
        stat.Panel()
        .title(panel.title)
        .description(panel.what)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(HEIGHTS["number"])
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
    )
    for index, query in enumerate(panel.queries):
        made.with_target(_target(query, index))
    return made


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.what)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(HEIGHTS["lines"])
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
    for index, query in enumerate(panel.queries):
        made.with_target(_target(query, index))
    return made


def _target(query: Query, index: int) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.promql)
        .legend_format(query.legend or "__auto")
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

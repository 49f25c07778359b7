"""What a dashboard is here: rows of panels, each with its meaning, unit and queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: In queries, `@` stands for the choice of namespace, `@i` for that of namespace and instance.
NAMESPACE = 'namespace=~"$namespace"'
INSTANCE = f'{NAMESPACE},instance=~"$instance"'


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and the legend of its series."""

    expr: str
    legend: str = ""

    @property
    def promql(self) -> str:
        return self.expr.replace("{@i", "{" + INSTANCE).replace("{@", "{" + NAMESPACE)


@dataclass(frozen=True, slots=True)
class Panel:
    """`warn` and `bad` are thresholds; `bad` below `warn` means that less is worse."""

    title: str
    what: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["lines", "number"] = "lines"
    warn: float | None = None
    bad: float | None = None
    stacked: bool = False
    top: float | None = None
    width: int = 12


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`instances` is a metric whose instances can be chosen from; none: no such choice."""

    uid: str
    title: str
    what: str
    rows: tuple[Row, ...]
    instances: str = ""


def lines(
    title: str,
    what: str,
    unit: str,
    *queries: tuple[str, str],
    warn: float | None = None,
    bad: float | None = None,
    stacked: bool = False,
    top: float | None = None,
    width: int = 12,
) -> Panel:
    """A panel of curves; a query is (legend, PromQL)."""
    made = tuple(Query(expr, legend) for legend, expr in queries)
    return Panel(title, what, unit, made, "lines", warn, bad, stacked, top, width)


def number(
    title: str,
    what: str,
    unit: str,
    expr: str,
    *,
    warn: float | None = None,
    bad: float | None = None,
    legend: str = "",
) -> Panel:
    """A panel of one figure, its newest."""
    return Panel(title, what, unit, (Query(expr, legend),), "number", warn, bad, width=4)


def percentiles(rule: str, label: str = "") -> tuple[tuple[str, str], ...]:
    """The recorded 50th, 95th and 99th percentile of a `realm:…:p50_…` rule."""
    prefix = f"{{{{{label}}}}} " if label else ""
    return tuple((f"{prefix}{p}", rule.replace("p50", p)) for p in ("p50", "p95", "p99"))


def quantile(share: float, histogram: str, by: str, labels: str = "@") -> str:
    """A quantile of a classic histogram over the panel's rate interval."""
    grouped = f"{by}, le" if by else "le"
    rate = f"rate({histogram}_bucket{{{labels}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({grouped}) ({rate}))"

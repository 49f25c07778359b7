"""Charts in the terminal: the index lag over time, refreshes by phase."""

from __future__ import annotations

from typing import Any

import plotext
from rich.table import Table
from rich.text import Text

from realm.cli.format import duration
from realm.cli.history import History
from realm.records.states import PHASES, TOTAL

#: Rows and least columns of the lag's chart.
HEIGHT = 12
LEAST_WIDTH = 40
WIDEST = 110
COLOURS = {
    "queue": "bright_black",
    "embed": "blue",
    "load": "cyan",
    "optimize": "magenta",
    "validate": "yellow",
    "swap": "red",
    "flip": "green",
}
MINUTE = 60.0
#: Of the time axis.
LEAST_MINUTES = 1.0


def lag_chart(history: History, now: float, width: int) -> Text:
    """Seconds of lag over minutes ago, with a bar at each swap; empty before two points."""
    if len(history.points) < 2 or width < LEAST_WIDTH:
        return Text()
    figure: Any = plotext.figure
    figure.clear()
    figure.plot_size(min(width, WIDEST), HEIGHT)
    figure.theme("colorless")
    figure.title("index lag in seconds, over minutes; bars are swaps")
    minutes = [(at - now) / MINUTE for at, _ in history.points]
    signal = figure.signal(minutes, [lag for _, lag in history.points], marker="braille")
    signal.lines()
    figure.draw(signal)
    highest = max(1.0, *(lag for _, lag in history.points))
    for at, _ in history.swaps:
        swap = figure.signal([(at - now) / MINUTE] * 2, [0.0, highest], marker="│")
        swap.lines()
        figure.draw(swap)
    figure.ruler("x").lim(min(minutes[0], -LEAST_MINUTES), 0.0)
    figure.ruler("y").lim(0.0, highest)
    return Text.from_ansi(str(figure.build()), no_wrap=True)


def refresh_chart(history: History, width: int) -> Table:
    """A line a refresh: its phases as long as they took, then what it took in all."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    longest = max((_total(each) for each in history.refreshes.values()), default=0.0)
    cells = max(10, min(width, WIDEST) - 30)
    for number in sorted(history.refreshes):
        phases = history.refreshes[number]
        took = duration(_total(phases)) + (" so far" if number == history.building else "")
        table.add_row(f"generation {number}", _bar(phases, longest, cells), took)
    if history.refreshes:
        table.add_row("", _legend(history))
    return table


def _bar(phases: dict[str, float], longest: float, cells: int) -> Text:
    bar = Text()
    drawn, passed = 0, 0.0
    for name in PHASES:
        passed += phases.get(name, 0.0)
        until = round(passed / longest * cells) if longest else 0
        bar.append("█" * (until - drawn), style=COLOURS[name])
        drawn = max(drawn, until)
    return bar


def _legend(history: History) -> Text:
    known = {name for phases in history.refreshes.values() for name in phases}
    legend = Text()
    for name in PHASES:
        if name in known:
            legend.append("█ ", style=COLOURS[name])
            legend.append(f"{name}  ")
    return legend


def _total(phases: dict[str, float]) -> float:
    return phases.get(TOTAL, sum(phases.get(name, 0.0) for name in PHASES))

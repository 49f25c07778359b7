"""`realm watch`: the status, the lag and the refreshes over time, from the gateway alone."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from realm.cli.index import status_table
from realm.cli.options import MOST, Address, AsJson, connect
from realm.cli.output import duration, messages, output, show
from realm.client import Client
from realm.errors import RealmError
from realm.records.states import PHASES, TOTAL
from realm.v1 import index_pb2

#: The live view moves on this often even without an update.
TICK_SECONDS = 1.0
#: Seconds of lag that are drawn, and how many refreshes.
WINDOW_SECONDS = 900.0
REFRESHES = 8
#: Rows of the lag chart, and the columns that it needs.
HEIGHT = 12
MIN_WIDTH = 40
MAX_WIDTH = 110
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
#: The shortest time axis.
MIN_MINUTES = 1.0


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    updates: Annotated[
        int, typer.Option(help="stop after this many updates; 0: never", min=0, max=MOST)
    ] = 0,
    as_json: AsJson = False,
    charts: Annotated[bool, typer.Option(help="draw lag and refreshes in a terminal")] = True,
    address: Address = "",
) -> None:
    """Show status, lag and refreshes over time until Ctrl-C; with --json, a line a change."""
    console = output()
    with connect(address) as client:
        found = itertools.islice(status_updates(client), updates or None)
        if console.is_terminal and not as_json:
            _draw(console, found, charts)
            return
        for each in found:
            show(each, as_json, status_table(each))


def status_updates(client: Client) -> Iterator[index_pb2.IndexStatus]:
    """Survives the replacement of a gateway or indexer; fails if none is there at the start."""

    def say(error: RealmError) -> None:
        messages().print(f"{error.message}; trying again", style="dim", markup=False)

    return client.watch(on_lost=say)


def ticking(
    updates: Iterator[index_pb2.IndexStatus], seconds: float
) -> Iterator[index_pb2.IndexStatus | None]:
    """The updates as they come, and None whenever none came for that many seconds."""
    received: queue.Queue[index_pb2.IndexStatus | RealmError | None] = queue.Queue()

    def receive() -> None:
        try:
            for each in updates:
                received.put(each)
            received.put(None)
        except RealmError as error:
            received.put(error)

    threading.Thread(target=receive, name="updates", daemon=True).start()
    while True:
        try:
            found = received.get(timeout=seconds)
        except queue.Empty:
            yield None
            continue
        if found is None:
            return
        if isinstance(found, RealmError):
            raise found
        yield found


def _draw(console: Console, updates: Iterator[index_pb2.IndexStatus], charts: bool) -> None:
    history = History()
    status = index_pb2.IndexStatus()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for found in ticking(updates, TICK_SECONDS):
            now = time.time()
            if found is None:
                history.add_silence(now)
            else:
                status = found
                history.add_status(found, now)
            live.update(frame(status, history, now, console.width, charts), refresh=True)


def frame(
    status: index_pb2.IndexStatus, history: History, now: float, width: int, charts: bool
) -> RenderableType:
    """One frame of the live view."""
    if not charts:
        return status_table(status)
    return Group(
        status_table(status), "", lag_chart(history, now, width), refresh_chart(history, width)
    )


@dataclass(slots=True)
class History:
    """Lag, swaps and refreshes of the last minutes, from statuses. Unix times."""

    points: deque[tuple[float, float]] = field(default_factory=deque)
    swaps: deque[tuple[float, int]] = field(default_factory=deque)
    #: Seconds by phase, by generation.
    refreshes: dict[int, dict[str, float]] = field(default_factory=dict)
    #: The generation being built; 0: none.
    building: int = 0
    _live: int = 0

    def add_status(self, status: index_pb2.IndexStatus, now: float) -> None:
        if status.HasField("live"):
            live = status.live
            if self._live and live.generation != self._live:
                self.swaps.append((now, live.generation))
            self._live = live.generation
            self._add(now, live.lag.ToNanoseconds() / 1e9)
        for refresh in (status.last_refresh, status.refresh):
            if refresh.generation and refresh.phase_seconds:
                self.refreshes[refresh.generation] = dict(refresh.phase_seconds)
        self.building = status.refresh.generation
        for number in sorted(self.refreshes)[:-REFRESHES]:
            del self.refreshes[number]

    def add_silence(self, now: float) -> None:
        """Extends a lag while no newer status arrives."""
        if self.points:
            at, lag = self.points[-1]
            self._add(now, lag + (now - at) if lag else 0.0)

    def _add(self, now: float, lag: float) -> None:
        self.points.append((now, lag))
        while self.points[0][0] < now - WINDOW_SECONDS:
            self.points.popleft()
        while self.swaps and self.swaps[0][0] < self.points[0][0]:
            self.swaps.popleft()


def lag_chart(history: History, now: float, width: int) -> Text:
    """Seconds of lag over the last minutes, with a bar at each swap; empty before two points."""
    if len(history.points) < 2 or width < MIN_WIDTH:
        return Text()
    import plotext  # a quarter of the start of every command, if it were imported at once

    figure: Any = plotext.figure
    figure.clear()
    figure.plot_size(min(width, MAX_WIDTH), HEIGHT)
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
    figure.ruler("x").lim(min(minutes[0], -MIN_MINUTES), 0.0)
    figure.ruler("y").lim(0.0, highest)
    return Text.from_ansi(str(figure.build()), no_wrap=True)


def refresh_chart(history: History, width: int) -> Table:
    """A line for each refresh: its phases to scale, then the total."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    longest = max((_total(each) for each in history.refreshes.values()), default=0.0)
    cells = max(10, min(width, MAX_WIDTH) - 30)
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

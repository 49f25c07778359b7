"""`realm watch`: the status, the lag and the refreshes over time, from the gateway alone."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from realm.cli.charts import lag_chart, refresh_chart
from realm.cli.format import status_table
from realm.cli.history import History
from realm.cli.json_output import to_json
from realm.cli.options import MOST, Address, AsJson, connect, messages, output
from realm.client import Client
from realm.errors import RealmError
from realm.v1 import index_pb2

#: The picture moves on so often, also when nothing is heard.
TICK_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    updates: Annotated[int, typer.Option(help="end after so many; 0: never", min=0, max=MOST)] = 0,
    as_json: AsJson = False,
    charts: Annotated[bool, typer.Option(help="draw lag and refreshes in a terminal")] = True,
    address: Address = "",
) -> None:
    """Status, lag and refreshes over time, until Ctrl-C; with --json a line at every change."""
    console = output()
    with connect(address) as client:
        found = itertools.islice(status_updates(client), updates or None)
        if as_json:
            for each in found:
                console.out(to_json(each))
        elif console.is_terminal:
            _draw(console, found, charts)
        else:
            for each in found:
                console.print(status_table(each))


def status_updates(client: Client) -> Iterator[index_pb2.IndexStatus]:
    """Goes on when a gateway or an indexer is replaced; fails if there was none to begin with."""

    def say(error: RealmError) -> None:
        messages().print(f"{error.message}; trying again", style="dim", markup=False)

    return client.watch(on_lost=say)


def ticking(
    updates: Iterator[index_pb2.IndexStatus], seconds: float
) -> Iterator[index_pb2.IndexStatus | None]:
    """The updates as they come, and None whenever so many seconds brought none."""
    heard: queue.Queue[index_pb2.IndexStatus | RealmError | None] = queue.Queue()

    def listen() -> None:
        try:
            for each in updates:
                heard.put(each)
            heard.put(None)
        except RealmError as error:
            heard.put(error)

    threading.Thread(target=listen, name="updates", daemon=True).start()
    while True:
        try:
            found = heard.get(timeout=seconds)
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
                history.passed(now)
            else:
                status = found
                history.saw(found, now)
            live.update(frame(status, history, now, console.width, charts), refresh=True)


def frame(
    status: index_pb2.IndexStatus, history: History, now: float, width: int, charts: bool
) -> RenderableType:
    """One picture."""
    if not charts:
        return status_table(status)
    return Group(
        status_table(status), "", lag_chart(history, now, width), refresh_chart(history, width)
    )

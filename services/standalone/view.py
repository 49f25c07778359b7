"""The live view in the terminal: model, index, refresh, load and processes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from realm.records.states import PHASES, TOTAL
from realm.v1.index_pb2 import GenerationState, IndexStatus, Refresh
from services.standalone.load.audit import Verdict
from services.standalone.observer import Observer, Sample
from services.standalone.supervisor import ChildProcess


def render(
    observer: Observer, processes: Sequence[ChildProcess], began: float, address: str
) -> RenderableType:
    """One frame."""
    sample = observer.newest
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold cyan", justify="right")
    rows.add_column()
    rows.add_row("running", _duration(time.time() - began))
    rows.add_row("model", _model(sample))
    rows.add_row("index", _index(sample.status if sample else None))
    rows.add_row("refresh", _refresh(sample.status if sample else None))
    if observer.requests:
        rows.add_row("load", _load(observer))
    rows.add_row("processes", _processes(processes))
    rows.add_row("ask it", Text(f"realm ask --address {address} 'your question'", style="green"))
    return Panel(rows, title="realm", subtitle="Ctrl-C stops it", expand=False)


def _model(sample: Sample | None) -> RenderableType:
    if sample is None or sample.step is None:
        return Text("the trainer is starting", style="dim")
    losses = "  ".join(f"{name} {value:.3f}" for name, value in sorted(sample.losses.items()))
    utility = (
        f"  retrieval utility {sample.retrieval_utility:+.3f}" if sample.retrieval_utility else ""
    )
    return Text(f"step {sample.step}  {losses}{utility}")


def _index(status: IndexStatus | None) -> RenderableType:
    if status is None:
        return Text("the gateway does not answer yet", style="yellow")
    if not status.HasField("live"):
        return Text("nothing is live yet", style="dim")
    live = status.live
    text = Text(f"generation {live.generation}  snapshot {live.snapshot} (step {live.step})  ")
    lagging = live.lag_steps > 0
    text.append(
        f"lag {live.lag_steps} steps, {live.lag.ToSeconds()} s",
        style="yellow" if lagging else "green",
    )
    text.append(f"  corpus version {live.corpus_version} of {status.corpus_version}")
    return text


def _refresh(status: IndexStatus | None) -> RenderableType:
    if status is None:
        return Text("–", style="dim")
    if status.HasField("refresh"):
        return _under_way(status.refresh)
    if status.HasField("last_refresh"):
        return Text(f"none; last: {_phases(status.last_refresh)}")
    return Text("paused" if status.paused else "none", style="dim")


def _under_way(refresh: Refresh) -> RenderableType:
    state = GenerationState.Name(refresh.state).removeprefix("GENERATION_STATE_").lower()
    words = Text(f"generation {refresh.generation} {state}  ")
    words.append(f"shard {refresh.shards_completed} of {refresh.shards_expected}")
    if refresh.HasField("remaining"):
        words.append(f"  about {_duration(refresh.remaining.ToSeconds())} to go")
    bar = ProgressBar(
        total=max(1, refresh.shards_expected), completed=refresh.shards_completed, width=40
    )
    return Group(words, bar, Text(_phases(refresh), style="dim"))


def _phases(refresh: Refresh) -> str:
    known = refresh.phase_seconds
    return "  ".join(f"{name} {known[name]:.1f} s" for name in (*PHASES, TOTAL) if name in known)


def _load(observer: Observer) -> RenderableType:
    requests = observer.requests
    failed = sum(bool(each.failed) for each in requests)
    mixed = sum(each.verdict == Verdict.MIXED for each in requests)
    text = Text(f"{len(requests)} questions  ")
    text.append(f"{failed} failed  ", style="bold red" if failed else "green")
    text.append(f"{mixed} of mixed versions", style="bold red" if mixed else "green")
    if recent := [each.latency for each in requests[-50:] if not each.failed]:
        text.append(f"  median {sorted(recent)[len(recent) // 2] * 1000:.0f} ms", style="dim")
    return text


def _processes(processes: Sequence[ChildProcess]) -> RenderableType:
    text = Text()
    for each in processes:
        style = "green" if each.running else "bold red"
        again = f" (restarted {each.restarts}×)" if each.restarts else ""
        text.append(f"{each.spec.name}{again}  ", style=style)
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

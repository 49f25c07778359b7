"""The live view in the terminal: model, index, refresh, load and processes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from realm.cli.index import status_rows
from realm.cli.output import Row, duration, fields_table
from services.standalone.load.request_log import Verdict
from services.standalone.observer import Observer, Sample
from services.standalone.supervisor import ChildProcess


def render(
    observer: Observer, processes: Sequence[ChildProcess], began: float, address: str
) -> RenderableType:
    """One frame."""
    sample = observer.newest
    status = sample.status if sample else None
    rows: list[Row] = [("running", duration(time.time() - began)), ("model", _model(sample))]
    rows += status_rows(status) if status else [("index", "the gateway does not answer yet")]
    if observer.requests:
        rows.append(("load", _load(observer)))
    rows.append(("processes", _processes(processes)))
    rows.append(("ask it", Text(f"realm ask --address {address} 'your question'", style="green")))
    parts: list[RenderableType] = [fields_table(rows)]
    if status and status.HasField("refresh"):
        total, done = status.refresh.shards_expected, status.refresh.shards_completed
        parts.append(ProgressBar(total=max(1, total), completed=done, width=40))
    return Panel(Group(*parts), title="realm", subtitle="Ctrl-C stops it", expand=False)


def _model(sample: Sample | None) -> str:
    if sample is None or sample.step is None:
        return "the trainer is starting"
    losses = "  ".join(f"{name} {value:.3f}" for name, value in sorted(sample.losses.items()))
    utility = (
        f"  retrieval utility {sample.retrieval_utility:+.3f}" if sample.retrieval_utility else ""
    )
    return f"step {sample.step}  {losses}{utility}"


def _load(observer: Observer) -> Text:
    requests = observer.requests
    failed = sum(bool(each.failed) for each in requests)
    mixed = sum(each.verdict == Verdict.MIXED for each in requests)
    text = Text(f"{len(requests)} questions  ")
    text.append(f"{failed} failed  ", style="bold red" if failed else "green")
    text.append(f"{mixed} of mixed versions", style="bold red" if mixed else "green")
    if recent := [each.latency for each in requests[-50:] if not each.failed]:
        text.append(f"  median {sorted(recent)[len(recent) // 2] * 1000:.0f} ms", style="dim")
    return text


def _processes(processes: Sequence[ChildProcess]) -> Text:
    text = Text()
    for each in processes:
        style = "green" if each.running else "bold red"
        again = f" (restarted {each.restarts}×)" if each.restarts else ""
        text.append(f"{each.spec.name}{again}  ", style=style)
    return text

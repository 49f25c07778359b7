"""Samples the running cluster once a second through its public interfaces, and draws what it sees:
model, index, refresh, load and processes."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from realm.cli.index import status_rows
from realm.cli.output import Row, duration, fields_table
from realm.client import Client
from realm.errors import RealmError
from realm.v1.index_pb2 import IndexStatus
from services.standalone.cluster import Cluster
from services.standalone.load.request_log import (
    RequestRecord,
    Verdict,
    each_record,
    read_records,
)
from services.standalone.supervisor import ChildProcess

PERIOD_SECONDS = 1.0
SCRAPE_SECONDS = 2.0
#: Of so many answered requests the live view shows the median latency.
RECENT = 50
TRAINER_STEP = "realm_trainer_current_step"
TRAINER_UTILITY = "realm_trainer_retrieval_utility"
TRAINER_LOSS = "realm_trainer_loss"


@dataclass(frozen=True, slots=True)
class Sample:
    """The cluster at one moment. `status` is None while the gateway does not answer."""

    at: float
    status: IndexStatus | None
    step: int | None
    losses: dict[str, float]
    retrieval_utility: float | None


@dataclass(slots=True)
class RequestCounts:
    """The requests so far. Of the same size however long a run lasts; the log has each."""

    total: int = 0
    failed: int = 0
    mixed: int = 0
    #: Latencies of the last that were answered, in seconds.
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, record: RequestRecord) -> None:
        self.total += 1
        self.mixed += record.verdict == Verdict.MIXED
        if record.failed:
            self.failed += 1
        else:
            self.recent.append(record.latency)


class Observer:
    """A thread that samples, and counts requests. Reading what it found never blocks."""

    def __init__(self, gateway: str, trainer_metrics: str, request_log: Path) -> None:
        self.newest: Sample | None = None
        #: The first sample with a step of the trainer, and the last.
        self.trained: list[Sample] = []
        self.requests = RequestCounts()
        self._client = Client(gateway, timeout=SCRAPE_SECONDS)
        self._trainer_metrics = f"http://{trainer_metrics}/metrics"
        self._request_log = request_log
        self._began_at = request_log.stat().st_size if request_log.exists() else 0
        self._position = self._began_at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Reads the last records before it returns."""
        self._stop.set()
        self._thread.join(3 * SCRAPE_SECONDS)
        self._read_requests()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            self.newest = self._sample()
            if self.newest.step is not None:
                self.trained = [*self.trained[:1], self.newest]
            self._read_requests()

    def _sample(self) -> Sample:
        try:
            status = self._client.status()
        except RealmError:
            status = None
        gauges = scrape(self._trainer_metrics)
        step = gauges.get((TRAINER_STEP, ""))
        return Sample(
            at=time.time(),
            status=status,
            step=int(step) if step is not None else None,
            losses={
                label: value for (name, label), value in gauges.items() if name == TRAINER_LOSS
            },
            retrieval_utility=gauges.get((TRAINER_UTILITY, "")),
        )

    def _read_requests(self) -> None:
        found, self._position = read_records(self._request_log, self._position)
        for record in found:
            self.requests.add(record)

    def logged_requests(self) -> Iterator[RequestRecord]:
        """All since the start, from the log."""
        return each_record(self._request_log, self._began_at)


#: The processes are on this machine: no proxy stands between.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def scrape(url: str) -> dict[tuple[str, str], float]:
    """Values by metric name and first label's value; empty if the process does not answer."""
    try:
        with DIRECT.open(url, timeout=SCRAPE_SECONDS) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return {}
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def render(
    observer: Observer, processes: Sequence[ChildProcess], began: float, cluster: Cluster
) -> RenderableType:
    """One frame."""
    sample = observer.newest
    status = sample.status if sample else None
    rows: list[Row] = [("running", duration(time.time() - began)), ("model", _model(sample))]
    rows += status_rows(status) if status else [("index", "the gateway does not answer yet")]
    if observer.requests.total:
        rows.append(("load", _load(observer.requests)))
    rows.append(("processes", _processes(processes)))
    rows.append(("look at it", Text(f"http://{cluster.address('web')}", style="green")))
    asking = f"realm ask --address {cluster.address('gateway')} 'your question'"
    rows.append(("ask it", Text(asking, style="green")))
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


def _load(requests: RequestCounts) -> Text:
    failed, mixed = requests.failed, requests.mixed
    text = Text(f"{requests.total} questions  ")
    text.append(f"{failed} failed  ", style="bold red" if failed else "green")
    text.append(f"{mixed} of mixed versions", style="bold red" if mixed else "green")
    if recent := requests.recent.copy():
        text.append(f"  median {sorted(recent)[len(recent) // 2] * 1000:.0f} ms", style="dim")
    return text


def _processes(processes: Sequence[ChildProcess]) -> Text:
    text = Text()
    for each in processes:
        style = "green" if each.running else "bold red"
        again = f" (restarted {each.restarts}×)" if each.restarts else ""
        text.append(f"{each.spec.name}{again}  ", style=style)
    return text

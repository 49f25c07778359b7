"""The trace of a refresh, and the histogram, against an outside observer's clock."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from realm.client import Client
from realm.records.generations import Generations
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.standalone.cluster import HOST, PORTS
from services.standalone.observer import scrape
from tests.acceptance.running import RunningCluster
from tests.observe.gateways import another_gateway, generation
from tests.waiting import until

REFRESHES = 2
TOTAL = "realm_indexer_refresh_duration_seconds"
PHASES = ["queue", "embed", "load", "validate", "swap", "flip"]
LOOK_SECONDS = 0.05
#: Snapshots come so seldom that a refresh is over before the next.
SETTINGS: dict[str, Any] = {"REALM_SNAPSHOT_MIN_SECONDS": "12"}


class Outside:
    """Sees snapshots appear in the store and gateways answer with them, by its own clock."""

    def __init__(self, store: Path, gateways: dict[str, Client]) -> None:
        self.published: dict[int, float] = {}
        self.answered: dict[str, dict[int, float]] = {name: {} for name in gateways}
        self._stop = threading.Event()
        self._threads = [self._thread(self._look_at, store / "snapshots")]
        self._threads += [
            self._thread(self._ask, name, client) for name, client in gateways.items()
        ]

    def __enter__(self) -> Outside:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(30)

    def latency(self, snapshot: int, number: int) -> float:
        """Seconds from the snapshot's appearance to the last gateway's first answer."""
        return max(each[number] for each in self.answered.values()) - self.published[snapshot]

    def saw(self, number: int) -> bool:
        """Whether every gateway has answered with this generation."""
        return all(number in each for each in self.answered.values())

    def _look_at(self, folder: Path) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for manifest in folder.glob("*/manifest.json"):
                self.published.setdefault(int(manifest.parent.name[:8]), time.time())

    def _ask(self, name: str, client: Client) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            if found := generation(client):
                self.answered[name].setdefault(found, time.time())

    @staticmethod
    def _thread(work: Callable[..., None], *given: Any) -> threading.Thread:
        return threading.Thread(target=work, args=given, daemon=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_trace_and_the_histogram_tell_the_truth(
    tmp_path: Path,
) -> None:
    traces = tmp_path / "traces"
    settings = {**SETTINGS, "REALM_TRACE_FOLDER": str(traces)}
    with RunningCluster(tmp_path / "run", **settings) as cluster:
        store = cluster.folder / "state" / "store"
        metrics = f"http://{HOST}:{PORTS['indexer metrics'] + cluster.offset}/metrics"
        with another_gateway(cluster, store, REALM_TRACE_FOLDER=str(traces)) as second:
            both = {"first": cluster.client, "second": second.client}
            with Outside(store, both) as outside:
                latencies = refreshes(metrics, cluster, REFRESHES + 1)[1:]
                numbers = {whose(store, each): each for each in latencies}
                until(lambda: outside.saw(max(numbers)), "an answer of each gateway", 60)
        opened = Store.open(str(store))
        generations, snapshots = Generations(opened), Snapshots(opened)
        spans = [
            json.loads(line)
            for file in traces.glob("*.jsonl")
            for line in file.read_text().splitlines()
        ]
        for number, seconds in numbers.items():
            snapshot = snapshots.get(generations.get(number).snapshot)
            own = [
                span
                for span in spans
                if span["context"]["trace_id"] == f"0x{RefreshTrace(snapshot).trace_id}"
            ]
            end_to_end = check_trace(own, number, snapshot.created_at)
            assert seconds == pytest.approx(end_to_end, rel=0.02)
            assert seconds == pytest.approx(outside.latency(snapshot.number, number), abs=1.0)


def refreshes(metrics: str, cluster: RunningCluster, wanted: int) -> list[float]:
    """What the histogram's sum grew by whenever one had reached all gateways."""
    found: list[float] = []
    count, total = observed(metrics)

    def looked() -> bool:
        nonlocal count, total
        now, grown = observed(metrics)
        if now > count:
            assert now == count + 1
            found.append(grown - total)
            count, total = now, grown
        return len(found) >= wanted

    until(looked, f"{wanted} refreshes; {found}", 400, cluster.output)
    return found


def whose(store: Path, seconds: float) -> int:
    """The generation whose refresh took so long, as its own record says."""
    generations = Generations(Store.open(str(store)))
    return next(
        number
        for number in generations.numbers()
        for event in generations.events(number)
        if abs(event.report.get("phase_total", 0.0) - seconds) < 1e-3
    )


def observed(metrics: str) -> tuple[float, float]:
    values = scrape(metrics)
    return values[f"{TOTAL}_count", "total"], values[f"{TOTAL}_sum", "total"]


def check_trace(spans: list[dict[str, Any]], number: int, published: float) -> float:
    """Seconds from publication to the last gateway's flip, by trainer's and gateways' clocks."""

    def of(name: str) -> list[dict[str, Any]]:
        return [
            each
            for each in spans
            if each["name"] == name and each["attributes"].get("realm.generation", number) == number
        ]

    (root,), flips = of("refresh"), of("gateway flip")
    assert len(of("snapshot")) == 1
    assert len(flips) == 2
    assert of("realm.embed_shard")
    assert {"load", "read", "encode", "write"} <= {each["name"] for each in spans}
    phases = [each for name in PHASES for each in of(name) if each["parent_id"] == span_id(root)]
    assert [each["name"] for each in phases] == PHASES
    end_to_end = max(ended(each) for each in flips) - published
    assert sum(map(lasted, phases)) == pytest.approx(end_to_end, rel=0.02)
    assert lasted(root) == pytest.approx(end_to_end, rel=0.02)
    return end_to_end


def span_id(span: dict[str, Any]) -> str:
    return str(span["context"]["span_id"])


def began(span: dict[str, Any]) -> float:
    return datetime.fromisoformat(span["start_time"]).timestamp()


def ended(span: dict[str, Any]) -> float:
    return datetime.fromisoformat(span["end_time"]).timestamp()


def lasted(span: dict[str, Any]) -> float:
    return ended(span) - began(span)

"""Faults made in a live cluster raise the alert meant for them, within its time, and no other.

The rules are those of deploy/prometheus, twenty times faster (`scaled.py`). A process that is to
stay dead is killed while the supervisor, which would start it again, is stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from realm.errors import RealmError
from realm.model.checkpoint import Model, load_model, write_model
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from services.standalone.cluster import PORTS
from tests.acceptance.running import RunningCluster
from tests.observe.gateways import another_gateway
from tests.observe.scaled import takes_seconds, write_scaled
from tests.observe.server import (
    JOBS,
    SCRAPE_SECONDS,
    Prometheus,
    needs_prometheus,
    prometheus,
)
from tests.waiting import until

FACTOR = 20
#: A scrape that fails, the evaluation that sees it, the one that finds it lasting, and ours.
LATE_SECONDS = 5 * SCRAPE_SECONDS
#: How long a fault goes on after its alert: others would show themselves.
LINGER_SECONDS = 4 * SCRAPE_SECONDS
#: Snapshots come so seldom that a refresh is over before the next.
SETTINGS: dict[str, Any] = {
    "REALM_SNAPSHOT_EVERY_STEPS": "4",
    "REALM_SNAPSHOT_MIN_SECONDS": "12",
    "REALM_GATE_PROBES": "40",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """The cluster under faults and the Prometheus that watches it."""

    cluster: RunningCluster
    server: Prometheus
    ports: dict[str, list[int]]

    @property
    def store(self) -> Store:
        return Store.open(str(self.cluster.folder / "state" / "store"))

    def healthy(self) -> None:
        """Waits for a refresh that goes live, and for quiet."""
        begun = self.live()
        until(lambda: self.live() > begun, "a refresh", 150, self.cluster.output)
        until(lambda: not self.server.firing(), f"quiet; {self.server.firing()}", 120)

    def live(self) -> int:
        try:
            return int(self.cluster.client.status().live.generation)
        except RealmError:
            return 0

    def expect(self, *alert: str, since: float) -> None:
        """The alert fires within its time, and until a moment later no other has."""
        limit = takes_seconds(alert[0]) / FACTOR + LATE_SECONDS
        # Prometheus itself says when: a machine that is busy makes the test late, not the alert.
        until(lambda: alert in self.server.fired(since), f"{alert}; {since}", 4 * limit + 60)
        time.sleep(LINGER_SECONDS)
        assert self.server.fired(since) == {alert}
        assert self.first_seen(alert, since) <= limit

    def first_seen(self, alert: tuple[str, ...], since: float) -> float:
        """Seconds from the fault until the alert fired."""
        found = self.server.series(f'ALERTS{{alertstate="firing",alertname="{alert[0]}"}}', since)
        return min(float(at) for each in found for at, _ in each["values"]) - since

    @contextmanager
    def dead(self, name: str) -> Iterator[float]:
        """The process stays dead; gives the time of its death."""
        os.kill(self.cluster.pid, signal.SIGSTOP)
        try:
            self.cluster.kill(name)
            yield time.time()
        finally:
            os.kill(self.cluster.pid, signal.SIGCONT)


@pytest.mark.slow
@needs_prometheus
@pytest.mark.timeout(1200)
def test_each_fault_raises_its_alert_and_no_other(
    tmp_path: Path,
) -> None:
    rules = write_scaled(tmp_path / "rules.yaml", FACTOR)
    with RunningCluster(tmp_path / "run", **SETTINGS) as cluster:
        ports = {job: PORTS[name] + cluster.offset for job, name in JOBS.items()}
        with prometheus(tmp_path / "prometheus", ports, [rules]) as server:
            stage = Stage(cluster, server, {job: [port] for job, port in ports.items()})
            until(lambda: stage.live() > 1, "a swap", 150, cluster.output)
            healthy_from = time.time()
            stage.healthy()
            assert not server.fired(healthy_from)
            for name in ("trainer", "embedder", "indexer"):
                with stage.dead(name) as since:
                    stage.expect("TargetDown", name, since=since)
                stage.healthy()
            with stage.dead("redis") as since:
                stage.expect("DependencyDown", "redis", since=since)
            stage.healthy()
            one_gateway_held_back(stage, tmp_path)
            stage.healthy()
            a_rejected_generation(stage, tmp_path)


def one_gateway_held_back(stage: Stage, folder: Path) -> None:
    """It reads a copy of the store in which time has stopped."""
    frozen = folder / "frozen"
    shutil.copytree(stage.cluster.folder / "state" / "store", frozen)
    try:
        with another_gateway(stage.cluster, frozen) as slow:
            held = slow.generation()
            gateways = [*stage.ports["gateway"], slow.metrics_port]
            stage.server.watch({**stage.ports, "gateway": gateways})
            until(lambda: stage.live() > held, "a generation that it does not see", 150)
            stage.expect("MixedGatewaySteps", since=time.time())
            stage.server.watch(stage.ports)
    finally:
        stage.server.watch(stage.ports)


def a_rejected_generation(stage: Stage, folder: Path) -> None:
    """A snapshot that is blind to words is published: whatever it finds, it finds by chance."""
    snapshots, generations = Snapshots(stage.store), Generations(stage.store)
    newest = snapshots.newest()
    assert newest
    model = blind(load_model(snapshots.materialise(newest)))
    write_model(folder / "blind", model)
    since = time.time()

    def rejected() -> bool:
        found = [n for n in generations.numbers() if generations.get(n).created_at > since]
        return any(generations.state(number) is State.REJECTED for number in found)

    def published_again() -> bool:
        """The trainer may have published after us, before the build began."""
        ours = snapshots.newest()
        if ours is None or ours.metrics.get("blind") is None:
            snapshots.publish(
                folder / "blind",
                step=newest.step + 1,
                fingerprint=newest.fingerprint,
                vector_size=newest.vector_size,
                parent=newest.number,
                metrics={"blind": 1.0},
            )
        return rejected()

    until(published_again, "a rejected generation", 180, stage.cluster.output)
    limit = takes_seconds("GenerationRejected") / FACTOR + LATE_SECONDS
    at = time.time()
    until(lambda: bool(stage.server.fired(at)), "GenerationRejected", limit + 30)
    time.sleep(LINGER_SECONDS)
    assert {alert[0] for alert in stage.server.fired(since)} == {"GenerationRejected"}
    assert stage.first_seen(("GenerationRejected",), since) <= at - since + limit


def blind(model: Model) -> Model:
    with torch.no_grad():
        for tower in {model.retriever.query, model.retriever.passage}:
            tower.get_parameter("backbone.embeddings.word_embeddings.weight").zero_()
    return model

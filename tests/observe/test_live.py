"""A real Prometheus scrapes a live cluster on one machine through several swaps.

Every panel's query returns data, every recording rule yields series, no alert fires.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from realm.client import document
from services.standalone.cluster import HOST, PORTS
from tests.acceptance.running import RunningCluster
from tests.observe.promql import queries, recorded, rules, with_all_chosen
from tests.observe.server import JOBS, SCRAPE_SECONDS, Prometheus, needs_prometheus, prometheus
from tests.waiting import until

SWAPS = 2


def use(cluster: RunningCluster) -> None:
    """What users do, so that every metric has something to show."""
    written = cluster.client.upsert([document("moa", "The moa was a giant bird.", title="Moa")])
    cluster.client.search("giant bird", limit=3, at_least_version=written.corpus_version)
    cluster.client.ask("Who wrote Redis?", passages=3)


@pytest.mark.slow
@needs_prometheus
@pytest.mark.timeout(420)
def test_a_live_cluster_shows_everything_and_raises_no_alert(tmp_path: Path) -> None:
    with RunningCluster(tmp_path / "run") as cluster:
        ports = {job: PORTS[name] + cluster.offset for job, name in JOBS.items()}
        with prometheus(tmp_path / "prometheus", ports) as server:
            begun = cluster.client.status().live.generation
            until(
                lambda: swapped(cluster, begun + SWAPS),
                f"{SWAPS} swaps",
                180,
                cluster.output,
            )
            until(
                lambda: bool(server.numbers('realm_indexer_refreshes_total{outcome="live"} > 1')),
                "a scrape of the swaps",
                60,
            )
            # The rules that rest on others follow an evaluation later.
            time.sleep(4 * SCRAPE_SECONDS)
            check_targets(server)
            check_rules(server)
            check_panels(server)
            check_figures(server)
        for port in ports.values():
            check_exposition(port)


def swapped(cluster: RunningCluster, generation: int) -> bool:
    use(cluster)
    return bool(cluster.client.status().live.generation >= generation)


def check_targets(server: Prometheus) -> None:
    for target in server.get("targets")["activeTargets"]:
        assert target["health"] == "up", target


def check_rules(server: Prometheus) -> None:
    loaded = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert len(loaded) == len(list(rules()))
    assert not [rule for rule in loaded if rule["health"] != "ok"]
    without = [name for name in recorded() if not server.numbers(name)]
    assert not without
    assert not server.fired()


def check_panels(server: Prometheus) -> None:
    without = [
        (board, panel, expr)
        for board, panel, expr in queries()
        if not server.numbers(with_all_chosen(expr, 10 * SCRAPE_SECONDS))
    ]
    assert not without
    for label in ("namespace", "instance"):
        assert server.get(f"label/{label}/values")


def check_figures(server: Prometheus) -> None:
    """Each snapshot makes both views of the lag rise, until its generation is live."""
    for view in ("indexer", "gateway"):
        lagging = server.numbers(f"realm_{view}_lagging_since_timestamp_seconds")
        assert max(lagging) > server.began - 600, view
    for task in ("realm.embed_shard", "realm.embed_changes"):
        waited = server.numbers(f'realm_embedder_queue_wait_seconds_count{{task="{task}"}}')
        assert max(waited) >= 1, task
    assert min(server.numbers("realm:dependency_up:min")) == 1


def check_exposition(port: int) -> None:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=30) as answer:
        text = answer.read()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60, check=False
    )
    assert not done.returncode, (done.stdout + done.stderr).decode()

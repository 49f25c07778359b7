"""What running services show at `/metrics` holds every series that rules and dashboards ask for.

The short form of `test_live.py`: a gateway and an indexer that really answer, the metrics of
trainer and embedder as their processes declare them; with Prometheus, if it is installed, and
without.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.standalone.cluster import HOST
from tests.observe.promql import queries, recorded, rules, selectors, with_all_chosen
from tests.observe.server import Prometheus, needs_prometheus, prometheus
from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
START_SECONDS = 120.0
#: Declared as the process declares them, and served as it serves them.
PROGRAM = """
import sys, threading
from realm.process import telemetry
from realm.settings import load_settings
from services.{service}.metrics import {metrics}
{metrics}()
telemetry.set_up(load_settings(metrics_port=int(sys.argv[1])), "{service}")
threading.Event().wait()
"""
SERVED = {"trainer": "TrainerMetrics", "embedder": "EmbedderMetrics"}
#: Qdrant's own and Kubernetes' are not of our making, and neither runs here.
FOREIGN = re.compile(r"^(collection|collections|grpc_responses|cluster|memory|app|kube|kubelet)_")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Metrics ports by job."""
    folder = tmp_path_factory.mktemp("scrape")
    found = {name: free_port() for name in (*SERVED, "indexer", "gateway", "embedder-delta")}
    indexer = f"{HOST}:{free_port()}"
    shared = {
        **os.environ,
        "REALM_STORE_URL": str(folder / "store"),
        "REALM_REDIS_URL": f"redis://{HOST}:1/0",
        "REALM_QDRANT_URL": f"http://{HOST}:1",
        "REALM_INDEXER_URL": indexer,
        "REALM_INDEXER_LISTEN": indexer,
        "REALM_GATEWAY_LISTEN": f"{HOST}:{free_port()}",
        "REALM_DRAIN_SECONDS": "0",
    }
    processes = []
    for job, port in found.items():
        service = job.removesuffix("-delta")
        command = [sys.executable, "-m", f"services.{service}"]
        if service in SERVED:
            program = PROGRAM.format(service=service, metrics=SERVED[service])
            command = [sys.executable, "-c", program, str(port)]
        environment = {**shared, "REALM_METRICS_PORT": str(port)}
        with (folder / f"{job}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            )
    try:
        for job, port in found.items():
            log_file = folder / f"{job}.log"
            until(lambda: shows(job, port), f"{job}: {log_file}", START_SECONDS)  # noqa: B023
        yield found
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def shows(job: str, port: int) -> bool:
    """Whether the service has declared its metrics: `/metrics` answers before that."""
    try:
        return f"realm_{job.removesuffix('-delta')}_" in scraped(port)
    except OSError:
        return False


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def asked_for() -> set[str]:
    """Series that rules and panels select, but for recorded and foreign ones."""
    expressions = [rule["expr"] for rule in rules()] + [expr for _, _, expr in queries()]
    names = {each.name for expr in expressions for each in selectors(expr)}
    ours = names - set(recorded()) - {"up", "ALERTS"}
    return {name for name in ours if not FOREIGN.match(name)}


def test_every_series_asked_for_is_shown(ports: dict[str, int]) -> None:
    shown: set[str] = set()
    for port in ports.values():
        for family in text_string_to_metric_families(scraped(port)):
            # A histogram or counter whose labels come with the first call has no sample yet.
            shown.add(family.name)
            shown |= {f"{family.name}_{end}" for end in ("total", "bucket", "sum", "count")}
            shown |= {sample.name for sample in family.samples}
    missing = sorted(asked_for() - shown)
    assert not missing


@needs_prometheus
def test_prometheus_scrapes_and_evaluates(ports: dict[str, int], tmp_path: Path) -> None:
    with prometheus(tmp_path / "prometheus", ports) as server:
        until(lambda: up(server) == set(ports), "a scrape of every process", 60)
        loaded = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
        assert len(loaded) == len(list(rules()))
        for board, panel, expr in queries():
            found = server.get("query", query=with_all_chosen(expr, 20))
            assert "result" in found, (board, panel)
    for port in ports.values():
        check = subprocess.run(
            [str(shutil.which("promtool")), "check", "metrics"],
            input=scraped(port).encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert not check.returncode, check.stderr.decode()


def up(server: Prometheus) -> set[str]:
    return {each["metric"]["job"] for each in server.get("query", query="up == 1")["result"]}

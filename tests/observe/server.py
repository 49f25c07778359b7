"""A real Prometheus over a live cluster on one machine, with the rules of deploy/prometheus."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.standalone.cluster import HOST
from tests.ports import free_port
from tests.waiting import until
from tools.prometheus_rule import RULES

SCRAPE_SECONDS = 2
#: The cluster's port names by metrics job.
JOBS = {
    "gateway": "gateway metrics",
    "indexer": "indexer metrics",
    "trainer": "trainer metrics",
    "embedder": "embedder metrics",
    "embedder-delta": "delta embedder metrics",
}

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus is not installed: make test-observe installs it",
)

#: Of an alert that fired, what tells it from others of its name.
TELLING = ("job", "dependency", "check")


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one; `began` is the Unix time of its start."""

    url: str
    began: float
    targets_file: Path

    def get(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def series(self, expr: str, since: float | None = None) -> list[Any]:
        """All series that an expression gave since then, or since the start."""
        began = self.began if since is None else since
        found = self.get(
            "query_range", query=expr, start=began, end=time.time(), step=SCRAPE_SECONDS
        )
        return list(found["result"])

    def numbers(self, expr: str) -> list[float]:
        """All numbers that an expression gave since the start; NaN is none."""
        values = [float(value) for each in self.series(expr) for _, value in each["values"]]
        return [value for value in values if not math.isnan(value)]

    def fired(self, since: float | None = None) -> set[tuple[str, ...]]:
        """Alerts that fired since then: their names, and what tells them apart."""
        return {_named(each["metric"]) for each in self.series(FIRING, since)}

    def firing(self) -> set[tuple[str, ...]]:
        return {_named(each["metric"]) for each in self.get("query", query=FIRING)["result"]}

    def watch(self, ports: Mapping[str, Sequence[int]]) -> None:
        """From now on scrapes these ports by job."""
        _write_targets(self.targets_file, ports)


FIRING = 'ALERTS{alertstate="firing"}'


def _named(labels: Mapping[str, str]) -> tuple[str, ...]:
    return (labels["alertname"], *(labels[name] for name in TELLING if name in labels))


def _write_targets(file: Path, ports: Mapping[str, Sequence[int]]) -> None:
    found = [
        {
            "targets": [f"{HOST}:{port}" for port in each],
            "labels": {"namespace": "realm", "job": job},
        }
        for job, each in ports.items()
    ]
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(found))
    draft.replace(file)  # Prometheus never reads half a file


@contextmanager
def prometheus(
    folder: Path, ports: Mapping[str, int], rules: Sequence[Path] = RULES
) -> Iterator[Prometheus]:
    """Scrapes the ports by job and evaluates the rules."""
    folder.mkdir()
    targets = folder / "targets.json"
    _write_targets(targets, {job: [port] for job, port in ports.items()})
    config = {
        "global": {
            "scrape_interval": f"{SCRAPE_SECONDS}s",
            "scrape_timeout": f"{SCRAPE_SECONDS}s",
            "evaluation_interval": f"{SCRAPE_SECONDS}s",
        },
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {
                "job_name": "realm",
                "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"{HOST}:{free_port()}"
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        made = Prometheus(f"http://{address}", time.time(), targets)
        until(lambda: _answers(made), f"Prometheus: {(folder / 'output.log').read_text()}", 30)
        yield made
    finally:
        process.terminate()
        process.wait(30)


def _answers(server: Prometheus) -> bool:
    try:
        return bool(server.get("status/buildinfo"))
    except OSError:
        return False

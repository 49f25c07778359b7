"""Traces: off by default, in one file a process when asked for, one trace for a refresh."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from realm import tracing
from realm.errors import BadSettings
from realm.records.refresh_trace import RefreshTrace
from realm.records.snapshots import Snapshot
from realm.tracing import exporters

ROOT = Path(__file__).parents[3]


def snapshot(number: int = 7, created_at: float = 1700000000.25) -> Snapshot:
    return Snapshot(number, "abcdef012345", 40, created_at, None, "f", 4, {})


def python(program: str, **environment: str) -> str:
    """Tracing is set up once a process, so each test has one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**kept, **environment},
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def spans(folder: Path) -> dict[str, dict[str, Any]]:
    """By name."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return {span["name"]: span for span in map(json.loads, lines)}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        (
            {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"},
            [],
        ),
    ],
)
def test_the_standard_variables_switch_traces_on(
    environment: Mapping[str, str], named: list[str]
) -> None:
    assert exporters(environment) == named


def test_without_them_nothing_of_opentelemetry_is_loaded() -> None:
    out = python(
        "import sys\n"
        "from realm import client\n"
        "from realm.process import rpc, telemetry\n"
        "from realm.records import refresh_trace\n"
        "from realm.settings import load_settings\n"
        "telemetry.set_up(load_settings(), 'tester')\n"
        "client.Client('127.0.0.1:1').close()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])\n"
    )
    assert out == "[]\n"


def test_missing_opentelemetry_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "NEEDED", "opentelemetry_that_is_not_there.sdk")
    with pytest.raises(BadSettings, match=r"pip install 'realm\[tracing\]'"):
        tracing.set_up("tester", environment={"OTEL_TRACES_EXPORTER": "otlp"})


def test_an_unknown_exporter_is_refused() -> None:
    out = python(
        "from realm import tracing\n"
        "from realm.errors import BadSettings\n"
        "try:\n"
        "    tracing.set_up('tester')\n"
        "except BadSettings as error:\n"
        "    print(error)\n",
        OTEL_TRACES_EXPORTER="zipkin",
    )
    assert "'zipkin'" in out


def test_spans_are_written_one_line_each_and_nest(tmp_path: Path) -> None:
    python(
        "from opentelemetry import trace\n"
        "from realm import tracing\n"
        "import time\n"
        f"assert tracing.set_up('tester', {str(tmp_path)!r})\n"
        "with tracing.tracer().start_as_current_span('outer'):\n"
        "    with tracing.span('inner', n=3):\n"
        "        pass\n"
        "    tracing.past_span('wait', 0.5, time.time_ns())\n"
        "with tracing.span('nobody asked'):\n"
        "    pass\n"
    )
    found = spans(tmp_path)
    assert set(found) == {"outer", "inner", "wait"}
    assert found["inner"]["parent_id"] == found["outer"]["context"]["span_id"]
    assert found["inner"]["attributes"] == {"n": 3}
    assert found["outer"]["resource"]["attributes"]["service.name"] == "realm-tester"


REFRESH = """
from realm import tracing
from realm.records.refresh_trace import RefreshTrace
from tests.unit.tracing.test_tracing import snapshot
assert tracing.set_up({service!r}, {folder!r})
trace = RefreshTrace(snapshot())
"""


def test_a_refresh_is_one_trace_over_processes_whatever_is_sampled(tmp_path: Path) -> None:
    said = {
        "trainer": "trace.published(2.0, until=1700000001.0)",
        "indexer": (
            "trace.ended(3, {'queue': 1.0, 'embed': 4.0, 'flip': 0.5, 'total': 5.5}, 'live',"
            " 1700000005.5)"
        ),
        "embedder": (
            "with trace.task('realm.embed_shard', 'embed', 3):\n"
            "    with tracing.span('encode'):\n"
            "        pass"
        ),
        "gateway": "trace.flipped(3, 1700000005.4, 1700000005.7)",
    }
    for service, what in said.items():
        python(
            REFRESH.format(service=service, folder=str(tmp_path)) + what,
            OTEL_TRACES_SAMPLER="always_off",
        )
    found = spans(tmp_path)
    traces = {span["context"]["trace_id"] for span in found.values()}
    assert traces == {f"0x{RefreshTrace(snapshot()).trace_id}"}
    parents = {name: span["parent_id"] for name, span in found.items()}
    identity = {name: span["context"]["span_id"] for name, span in found.items()}
    assert parents["snapshot"] is None
    assert parents["refresh"] == identity["snapshot"]
    assert parents["queue"] == parents["embed"] == parents["flip"] == identity["refresh"]
    assert parents["realm.embed_shard"] == identity["embed"]
    assert parents["encode"] == identity["realm.embed_shard"]
    assert parents["gateway flip"] == identity["flip"]
    assert found["queue"]["start_time"] == found["refresh"]["start_time"]
    assert found["flip"]["end_time"] == found["refresh"]["end_time"]
    assert found["flip"]["start_time"] == found["embed"]["end_time"]


def test_another_store_s_first_snapshot_has_another_trace() -> None:
    ours = RefreshTrace(snapshot()).trace_id
    assert ours == RefreshTrace(snapshot()).trace_id
    assert ours != RefreshTrace(snapshot(created_at=1700000000.5)).trace_id
    assert ours != RefreshTrace(snapshot(number=8)).trace_id

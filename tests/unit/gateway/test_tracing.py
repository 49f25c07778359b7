"""A request is one trace from the client through the gateway's stages; its logs carry its ids."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.tracing.test_tracing import ROOT

#: Tracing is set up once a process, so the gateway runs in one of its own.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from realm.process import telemetry
from realm.client import AsyncClient, Client
from realm.settings import load_settings
from realm.records.store import Store
from tests.unit.gateway.site import MemorySearch, World, running

async def main():
    folder = Path(sys.argv[1])
    telemetry.set_up(load_settings(log_level="debug", trace_folder=str(folder / "traces")), "site")
    world = World(Store.open(str(folder / "store")), MemorySearch(), folder)
    first = world.go_live(seed=1, step=10)
    async with running(world) as site:
        await site.serves(first)
        address = f"127.0.0.1:{site.gateway.port}"
        async with AsyncClient(address) as client:
            await client.ask("who built the tower?")
        def search():
            with Client(address) as client:
                client.search("river")
        await asyncio.to_thread(search)

asyncio.run(main())
"""


def run(folder: Path) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=kept,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stderr.splitlines()


def test_a_request_is_one_trace(tmp_path: Path) -> None:
    logged = [json.loads(line) for line in run(tmp_path)]
    lines = [
        json.loads(line)
        for file in (tmp_path / "traces").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    by_trace: dict[str, dict[tuple[str, str], Any]] = {}
    for span in lines:
        trace = by_trace.setdefault(span["context"]["trace_id"], {})
        trace[span["name"], span["kind"].rpartition(".")[2]] = span
    asked, searched = (
        next(trace for trace in by_trace.values() if (name, "SERVER") in trace)
        for name in (
            "realm.v1.AnswerService/AnswerQuestion",
            "realm.v1.RetrievalService/RetrievePassages",
        )
    )
    assert {name for name, _ in asked} >= {"encode", "wait", "search", "read"}
    assert {name for name, _ in searched} >= {"encode", "wait", "search"}
    for trace, name in (
        (asked, "realm.v1.AnswerService/AnswerQuestion"),
        (searched, "realm.v1.RetrievalService/RetrievePassages"),
    ):
        client, server = trace[name, "CLIENT"], trace[name, "SERVER"]
        assert server["parent_id"] == client["context"]["span_id"]
        assert client["parent_id"] is None
        assert trace["encode", "INTERNAL"]["parent_id"] == server["context"]["span_id"]
        stages = [trace[key] for key in trace if key[0] in ("encode", "read")]
        assert trace["wait", "INTERNAL"]["parent_id"] in {
            stage["context"]["span_id"] for stage in stages
        }
        assert server["attributes"]["rpc.grpc.status_code"] == 0
        assert server["attributes"]["realm.generation"] == 1
        ended = [
            line
            for line in logged
            if line["event"] == "call_ended"
            and f"0x{line['trace_id']}" == server["context"]["trace_id"]
        ]
        assert [line["generation"] for line in ended] == [1]
        assert ended[0]["request_id"] == server["attributes"]["realm.request_id"]

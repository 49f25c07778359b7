"""The sides that are compared, over one index: the gateway, the pipeline without a server, and the
plain server that a user would write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import psutil

from bench.cluster import BenchCluster
from bench.processes import processor_seconds
from bench.processors import keep_on
from bench.serve.load import Served, closed
from bench.serve.pipeline import Outcome, Turn
from realm.client import AsyncClient
from realm.errors import DependencyUnavailable
from realm.records.generations import Generations
from services.standalone.cluster import HOST

#: For answers of a turn at full load.
TIMEOUT_SECONDS = 60.0
STOP_SECONDS = 30.0
#: Beyond those of the cluster.
PLAIN_PORT = 39


class Gateway:
    def __init__(self, cluster: BenchCluster) -> None:
        self.address = cluster.gateways[0]
        (child,) = cluster.named("gateway")
        self.process = psutil.Process(child.pid)

    async def run(self, turn: Turn, questions: Sequence[str], *, retrieval: str = "") -> Outcome:
        async with AsyncClient(self.address, timeout=TIMEOUT_SECONDS) as client:

            async def ask(question: str) -> object:
                if turn.kind == "answer":
                    return await client.ask(question, passages=turn.limit)
                return await client.search(question, limit=turn.limit, retrieval=retrieval)

            await ask(questions[0])
            before = processor_seconds(self.process)
            served = await closed(ask, questions, turn.clients, turn.seconds)
            return outcome(served, processor_seconds(self.process) - before)

    @property
    def resident(self) -> int:
        """Bytes of its memory."""
        return int(self.process.memory_info().rss)


class Pipeline:
    """A process of its own (`bench.serve.pipeline`), which takes turns."""

    def __init__(
        self,
        cluster: BenchCluster,
        questions: Sequence[str],
        log: IO[bytes],
        processors: set[int],
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.serve.pipeline"],
            env=environment(cluster),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        keep_on(processors, self._process.pid)
        self._send(json.dumps(list(questions)))

    def run(self, turn: Turn) -> Outcome:
        """:raises DependencyUnavailable: if the process died."""
        self._send(json.dumps(asdict(turn)))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DependencyUnavailable("the pipeline ended; its log says why")
        return Outcome(**json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        stop(self._process)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Plain:
    """The server of `bench.serve.plain`, asked as the gateway is."""

    def __init__(self, cluster: BenchCluster, log: IO[bytes], processors: set[int]) -> None:
        live = Generations(cluster.store).live()
        assert live is not None
        generation = Generations(cluster.store).get(live.generation)
        self.address = f"{HOST}:{cluster.cluster.port('gateway') + PLAIN_PORT}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.serve.plain", generation.collection, self.address],
            env=environment(cluster),
            stdout=log,
            stderr=log,
        )
        keep_on(processors, self._process.pid)
        self._cluster = cluster

    def await_answer(self) -> None:
        self._cluster.await_answer(self.address)

    async def run(self, turn: Turn, questions: Sequence[str]) -> Outcome:
        process = psutil.Process(self._process.pid)
        async with AsyncClient(self.address, timeout=TIMEOUT_SECONDS) as client:

            async def ask(question: str) -> object:
                return await client.search(question, limit=turn.limit)

            before = processor_seconds(process)
            served = await closed(ask, questions, turn.clients, turn.seconds)
        return outcome(served, processor_seconds(process) - before)

    def close(self) -> None:
        self._process.terminate()
        stop(self._process)


def outcome(served: Served, processor: float) -> Outcome:
    """:raises DependencyUnavailable: if nothing was answered, or something was not."""
    if not served.answered or served.refused or served.failed:
        raise DependencyUnavailable(
            f"{len(served.answered)} answered, {len(served.refused)} refused,"
            f" {served.failed} failed"
        )
    return Outcome(served.rate, processor / len(served.answered), served.answered)


def environment(cluster: BenchCluster) -> Mapping[str, str]:
    # They are modules of the bench, which is found from the folder that it runs in.
    found = {"REALM_THREADS": "1", "PYTHONSAFEPATH": ""}
    return {**os.environ, **cluster.cluster.environment(), **found}


def stop(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def log_of(folder: Path, name: str) -> IO[bytes]:
    return (folder / f"{name}.log").open("wb")

"""A whole cluster in a folder of its own, for acceptance tests: real processes, real ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bench.ports import claim_offset
from realm.client import Client
from realm.errors import RealmError
from services.standalone.cluster import HOST, PORTS

#: What a user may call modules of a project of theirs: the cluster starts in its folder.
NAMES_OF_LIBRARIES = (
    *("redis", "celery", "queue", "random", "grpc", "torch", "transformers", "numpy", "statistics"),
    *("celeryconfig", "realm", "services", "deltalake", "obstore", "qdrant_edge", "platform"),
)
RAN = "a module of the working directory ran"
FIRST_ANSWER_SECONDS = 180.0
END_SECONDS = 90.0


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


class RunningCluster:
    """`with RunningCluster(folder, corpus) as cluster: cluster.client.search(…)`."""

    def __init__(self, folder: Path, corpus: Path, *, rate: float = 2.0, **settings: str) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.report_file = folder / "report.json"
        self.offset, self._ports = claim_offset()
        self.gateway = f"{HOST}:{PORTS['gateway'] + self.offset}"
        self._command = [
            *(str(Path(sys.executable).with_name("realm")), "up"),
            *("--store", str(folder / "state"), "--corpus", str(corpus)),
            *("--report", str(self.report_file), "--rate", str(rate)),
            *("--port-offset", str(self.offset)),
        ]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningCluster:
        self.project.mkdir(parents=True, exist_ok=True)
        for name in NAMES_OF_LIBRARIES:
            (self.project / f"{name}.py").write_text(f"print({RAN!r})\n")
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.project,
                env={**os.environ, **self._settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.client = Client(self.gateway, timeout=30)
        try:
            until(self.answers, FIRST_ANSWER_SECONDS, f"a first answer; {self.output()}")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self.end()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def answers(self) -> bool:
        """Whether a search is answered now."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"the cluster ended: {self.output()}")
        try:
            return bool(self.client.search("anything", limit=1).passages)
        except RealmError:
            return False

    def pid_of(self, name: str) -> int:
        """The process id of one of the cluster's processes, by its log file's name."""
        for child in psutil.Process(self.pid).children():
            if self._name(child) == name:
                return child.pid
        raise AssertionError(f"{name} does not run")

    def kill(self, name: str) -> int:
        """`kill -9`; returns the id that died."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def end(self) -> int:
        """SIGTERM, as Ctrl-C would; returns the exit code."""
        assert self._process
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
        return self._process.returncode

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report_file.read_text())
        return found

    def output(self) -> str:
        return (self.folder / "output.log").read_text()[-3000:]

    def _name(self, child: psutil.Process) -> str:
        try:
            command = " ".join(child.cmdline())
            queues = child.environ().get("REALM_EMBEDDER_QUEUES", "")
        except psutil.Error:
            return ""
        if "redis-server" in command:
            return "redis"
        if "qdrant_edge" in command:
            return "qdrant"
        for name in ("indexer", "gateway", "trainer"):
            if f"services.{name}" in command:
                return name
        if "services.embedder" in command:
            return "embedder-delta" if queues == "realm.delta" else "embedder"
        return ""

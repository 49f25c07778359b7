"""A real Qdrant Edge server: a subprocess on a free port over a temporary folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from qdrant_client import QdrantClient

from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
#: Seconds that anything here may take on a busy machine.
LIMIT = 30.0


def connect(host: str, port: int) -> QdrantClient:
    return QdrantClient(
        host, grpc_port=port, prefer_grpc=True, check_compatibility=False, timeout=int(LIMIT)
    )


@dataclass
class EdgeServer:
    """One folder, served; it may be killed and started again."""

    folder: Path
    options: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        return self.folder.with_suffix(".log")

    def command(self, port: int) -> list[str]:
        module = "services.standalone.qdrant_edge"
        place = ["--folder", str(self.folder), "--port", str(port)]
        return [sys.executable, "-m", module, *place, *self.options]

    def start(self) -> EdgeServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(self.command(self.port), cwd=ROOT, stderr=log)
        until(lambda: self.events("qdrant_edge_serving") or self.ended(), "serving")
        assert self.events("qdrant_edge_serving"), self.log_path.read_text()
        return self

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log_path.read_text().splitlines()
        # a line may be half written as we read
        whole = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in whole if line["event"] == name]

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def children(self) -> list[psutil.Process]:
        assert self._process is not None
        return list(psutil.Process(self._process.pid).children())

    def kill(self) -> None:
        """As if the power of the process went: no warning, no flush."""
        assert self._process is not None
        children = self.children()
        self._process.kill()
        self._process.wait(LIMIT)
        psutil.wait_procs(children, timeout=LIMIT)
        assert not any(child.is_running() for child in children), "a child outlived the front"

    def signal(self, number: int) -> None:
        """The front alone, which speaks to clients."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGTERM)
        return self._process.wait(LIMIT)

    def client(self) -> QdrantClient:
        return connect("127.0.0.1", self.port)

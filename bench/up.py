"""One `realm up` of its own, on ports that are free, as a newcomer's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from bench.documents import as_line
from bench.ports import claim_offset
from realm.client import Client
from realm.corpus.documents import Document
from realm.errors import DependencyUnavailable, RealmError
from services.standalone.cluster import HOST, PORTS

REALM = Path(sys.executable).with_name("realm")
POLL_SECONDS = 0.05
VECTORS_SECONDS = 400.0
END_SECONDS = 180.0


@dataclass(slots=True)
class Up:
    """`with Up(folder, ["--no-train"], documents) as up:`; it has ended after that.

    :param documents: its corpus; none: the documentation of Python.
    :param settings: `REALM_*` variables.
    """

    folder: Path
    options: list[str]
    documents: list[Document] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Unix time of the command.
    began: float = field(default=0.0, init=False)
    _process: subprocess.Popen[bytes] = field(init=False)
    _offset: int = field(init=False)
    _ports: Any = field(init=False)

    def __enter__(self) -> Up:
        self.folder.mkdir(exist_ok=True)
        self._offset, self._ports = claim_offset()
        command = [str(REALM), "up", "--json", "--port-offset", str(self._offset)]
        command += ["--store", str(self.state), *self.options]
        if self.documents:
            corpus = self.folder / "documents.jsonl"
            corpus.write_text("".join(map(as_line, self.documents)))
            command += ["--corpus", str(corpus)]
        with self._output.open("wb") as output:
            self.began = time.time()
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **self.settings},
                stdout=subprocess.DEVNULL,
                stderr=output,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        finally:
            self._process.kill()
            self._ports.close()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def gateway(self) -> str:
        return self.address("gateway")

    def address(self, name: str) -> str:
        return f"{HOST}:{PORTS[name] + self._offset}"

    @property
    def supervisor(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    def started(self) -> Iterator[tuple[str, int, float]]:
        """Name and id of each process, and when it was started, in Unix time."""
        for line in self._output.read_text().splitlines():
            event = _parsed(line)
            if event.get("event") == "process_started":
                moment = datetime.fromisoformat(event["timestamp"]).timestamp()
                yield event["process"], event["child"], moment

    def wait(self, seconds: float) -> None:
        """:raises DependencyUnavailable: if the cluster ends meanwhile, with the end of its log."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise DependencyUnavailable(f"the cluster ended: {self._output.read_text()[-1000:]}")

    @property
    def _output(self) -> Path:
        return self.folder / "output.log"

    def until_vectors(self, meanwhile: Callable[[], bool] = lambda: True) -> float:
        """Seconds from the command until a generation with vectors was live.

        :param meanwhile: called again and again; False: look once more.
        :raises DependencyUnavailable: if none comes.
        """
        with Client(self.gateway, timeout=5) as client:
            self.until(lambda: meanwhile() and has_vectors(client), "vectors", VECTORS_SECONDS)
        return time.time() - self.began

    def until(self, holds: Callable[[], bool], what: str, seconds: float) -> None:
        """:raises DependencyUnavailable: if it does not within `seconds`, or the cluster ends."""
        give_up_at = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > give_up_at:
                raise DependencyUnavailable(
                    f"{what} did not come in {seconds:.0f} s: {self._output.read_text()[-1000:]}"
                )
            self.wait(POLL_SECONDS)


def has_vectors(client: Client) -> bool:
    """Whether a generation with vectors is live."""
    try:
        live = client.status().live
    except RealmError:
        return False
    return live.generation > 0 and not live.words_alone


def _parsed(line: str) -> dict[str, Any]:
    """Empty if it is none of our log lines."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

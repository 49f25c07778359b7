"""A whole cluster in a folder of its own, for acceptance tests: real processes, real ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from bench.cluster import OUTSIDE_QDRANT
from bench.ports import claim_offset
from realm.client import Client
from realm.errors import RealmError
from services.standalone.cluster import HOST, PORTS
from tests.waiting import until

#: Short refreshes: a few steps a snapshot, and nothing that waits for minutes.
QUICK = {
    "REALM_SNAPSHOT_EVERY_STEPS": "2",
    "REALM_SNAPSHOT_MIN_SECONDS": "2",
    "REALM_CHECKPOINT_EVERY_STEPS": "2",
    "REALM_INVERSE_CLOZE_BATCH": "4",
    "REALM_MASKED_LM_BATCH": "1",
    "REALM_GATE_PROBES": "20",
}
#: Some notes of each make the corpus.
COPIES = 8
FACTS = [
    ("Kea", "The kea is a large parrot of the alpine regions of New Zealand. It is known for its"
     " intelligence and curiosity. Keas attack sheep now and then."),
    ("Takahe", "The takahe is a flightless bird of the South Island. It was thought extinct until"
     " Geoffrey Orbell found a group near Lake Te Anau in 1948."),
    ("Tuatara", "The tuatara is a reptile of New Zealand. Although it looks like a lizard, it is"
     " part of a distinct lineage, the order Rhynchocephalia. It may live 100 years."),
    ("Redis", "Redis is an in-memory store of data structures. It was written by Salvatore"
     " Sanfilippo in 2009. It serves as a database, a cache and a message broker."),
    ("Qdrant", "Qdrant is a vector similarity search engine written in Rust. It stores points,"
     " vectors with a payload. A collection is a named set of points."),
]  # fmt: skip
#: What a user may call modules of a project of theirs: the cluster starts in its folder.
NAMES_OF_LIBRARIES = (
    *("redis", "celery", "queue", "random", "grpc", "torch", "transformers", "numpy", "statistics"),
    *("celeryconfig", "realm", "services", "deltalake", "obstore", "qdrant_edge", "platform"),
)
RAN = "a module of the working directory ran"
REALM = Path(sys.executable).with_name("realm")
FIRST_ANSWER_SECONDS = 180.0
END_SECONDS = 90.0


def fact_names() -> list[str]:
    return [f"{title}-{copy}" for title, _ in FACTS for copy in range(COPIES)]


def write_facts(file: Path) -> None:
    lines = [
        {"id": f"{title}-{copy}", "title": title, "text": f"{text} Note {copy} of {title}."}
        for title, text in FACTS
        for copy in range(COPIES)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))


class RunningCluster:
    """`with RunningCluster(folder) as cluster: cluster.client.search(…)`, over `FACTS`.

    :param realm: the command.
    :param follow: a folder that the corpus is kept as, beside `FACTS`.
    :param qdrant: URL of one that is there, or several; empty: one of its own.
    :param settings: beyond `QUICK`, or in its place.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rate: float = 2.0,
        realm: Path = REALM,
        follow: Path | None = None,
        qdrant: str = "",
        **settings: str,
    ) -> None:
        qdrant = qdrant or os.environ.get(OUTSIDE_QDRANT, "")
        self.folder = folder
        self.project = folder / "project"
        self.report_file = folder / "report.json"
        self.offset, self._ports = claim_offset()
        self.gateway = f"{HOST}:{PORTS['gateway'] + self.offset}"
        self._command = [
            *(str(realm), "up"),
            *("--store", str(folder / "state"), "--corpus", str(folder / "facts.jsonl")),
            *("--report", str(self.report_file), "--rate", str(rate)),
            *("--port-offset", str(self.offset)),
            *(("--corpus", str(follow), "--follow") if follow else ()),
            *(("--qdrant", qdrant) if qdrant else ()),
        ]
        self._settings = {**QUICK, **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningCluster:
        self.project.mkdir(parents=True, exist_ok=True)
        write_facts(self.folder / "facts.jsonl")
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
            until(self.answers, "a first answer", FIRST_ANSWER_SECONDS, self.output)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        try:
            self.end()
        finally:
            self._ports.close()

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
        """Of a fork its own, of what was executed by its command."""
        try:
            name, command = child.name(), " ".join(child.cmdline())
        except psutil.Error:
            return ""
        if name in ("indexer", "gateway", "trainer", "embedder", "embedder-delta"):
            return name
        executed = {
            "redis-server": "redis",
            "services.standalone.qdrant_edge": "qdrant",
            "services.standalone.fork_server": "fork-server",
            "services.web": "web",
        }
        return next((own for part, own in executed.items() if part in command), "")

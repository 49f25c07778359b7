"""A user of a running cluster whose history is checked at the end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.documents import REVISION
from bench.history.checker import Report, check
from bench.history.clients import BlockingRecordedClient, Identity
from bench.history.events import Kind, Read, Rest, Revision
from bench.history.history import read_history
from bench.history.readings import Readings
from bench.history.recorder import Recorder
from realm.corpus.documents import Document
from realm.records.store import Store
from services.standalone.cluster import HOST, PORTS
from tests.acceptance.running import RunningCluster, fact_names

#: Of the facts: they were imported without a number.
IMPORTED = -1
LIMIT = 20


class RecordedUser:
    """Writes notes, and in the end reads all there is, notes and facts."""

    def __init__(self, cluster: RunningCluster, recorder: Recorder) -> None:
        self._recorder = recorder
        self._plain = cluster.client
        self._client = BlockingRecordedClient(Identity(recorder, "user"), cluster.client)
        qdrant = f"http://{HOST}:{PORTS['qdrant'] + cluster.offset}"
        store = Store.open(str(cluster.folder / "state" / "store"))
        self._readings = Readings(store, qdrant, recorder)
        self._questions: dict[str, str] = {}
        self._version = self._take_over_facts()

    def _take_over_facts(self) -> int:
        """The cluster itself imported them, in one batch."""
        names = fact_names()
        facts = [Revision(name, IMPORTED) for name in names]
        with self._recorder.operation("import", 0, Kind.UPSERT, facts) as (_, answered):
            answered.version = self._plain.get(names[0]).document_version
        return answered.version

    def write(self, name: str, text: str, question: str) -> None:
        """A note that the question finds."""
        self._version = self._client.upsert([Document(name, name, text, {REVISION: "0"})])
        self._questions[name] = question

    def read_everything(self) -> Report:
        """The final read-out, and what the whole history shows."""
        self._recorder.record(Rest(time.time(), 1))
        for name in [*fact_names(), *self._questions]:
            self._client.get(name)
        for name, question in self._questions.items():
            sought = Revision(name, 0)
            self._client.search(question, sought, limit=LIMIT, at_least=self._version)
        self._readings.record_versions()
        served = asyncio.run(self._readings.read_served(self._version))
        self._recorder.record(Read(time.time(), tuple(served)))
        return check(read_history(self._recorder.file))


def history_file(folder: Path) -> Path:
    return folder / "history.jsonl"

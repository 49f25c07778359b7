"""Samples the running cluster once a second through its public interfaces."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from realm.client import Client
from realm.errors import RealmError
from realm.v1.index_pb2 import IndexStatus
from services.standalone.load.request_log import RequestRecord, read_records

PERIOD_SECONDS = 1.0
SCRAPE_SECONDS = 2.0
TRAINER_STEP = "realm_trainer_current_step"
TRAINER_UTILITY = "realm_trainer_retrieval_utility"
TRAINER_LOSS = "realm_trainer_loss"


@dataclass(frozen=True, slots=True)
class Sample:
    """The cluster at one moment. `status` is None while the gateway does not answer."""

    at: float
    status: IndexStatus | None
    step: int | None
    losses: dict[str, float]
    retrieval_utility: float | None


class Observer:
    """A thread that samples, and collects request records. Reading them never blocks."""

    def __init__(self, gateway: str, trainer_metrics: str, request_log: Path) -> None:
        self.newest: Sample | None = None
        #: The first sample with a step of the trainer, and the last.
        self.trained: list[Sample] = []
        self.requests: list[RequestRecord] = []
        self._client = Client(gateway, timeout=SCRAPE_SECONDS)
        self._trainer_metrics = f"http://{trainer_metrics}/metrics"
        self._request_log = request_log
        self._position = request_log.stat().st_size if request_log.exists() else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Reads the last records before it returns."""
        self._stop.set()
        self._thread.join(3 * SCRAPE_SECONDS)
        self._read_requests()
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            self.newest = self._sample()
            if self.newest.step is not None:
                self.trained = [*self.trained[:1], self.newest]
            self._read_requests()

    def _sample(self) -> Sample:
        try:
            status = self._client.status()
        except RealmError:
            status = None
        gauges = scrape(self._trainer_metrics)
        step = gauges.get((TRAINER_STEP, ""))
        return Sample(
            at=time.time(),
            status=status,
            step=int(step) if step is not None else None,
            losses={
                label: value for (name, label), value in gauges.items() if name == TRAINER_LOSS
            },
            retrieval_utility=gauges.get((TRAINER_UTILITY, "")),
        )

    def _read_requests(self) -> None:
        found, self._position = read_records(self._request_log, self._position)
        self.requests.extend(found)


#: The processes are on this machine: no proxy stands between.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def scrape(url: str) -> dict[tuple[str, str], float]:
    """Values by metric name and first label's value; empty if the process does not answer."""
    try:
        with DIRECT.open(url, timeout=SCRAPE_SECONDS) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return {}
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

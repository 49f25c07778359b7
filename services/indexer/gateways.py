"""What gateways report: the generation that each answers with, and questions of users."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from realm.records.generations import Generation
from realm.records.recorded_questions import Bounds, RecordedQuestion, RecordedQuestions, Sample
from realm.records.store import Store

#: A file of questions is written at this interval, or ten times in the time they are kept.
WINDOW_SECONDS = 600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """A gateway's word; `generation` is 0 when it has none."""

    gateway_id: str
    generation: int
    ready: bool


class GatewayReports:
    """Reports expire: a gateway that is silent for `ttl_seconds` does not count. Thread-safe."""

    def __init__(self, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl = ttl_seconds
        self._clock = clock
        self._reports: dict[str, tuple[GatewayReport, float]] = {}
        #: When a gateway first reported the generation that it answers with, in Unix time.
        self._since: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def record(self, report: GatewayReport) -> None:
        with self._lock:
            self._reports[report.gateway_id] = (report, self._clock())
            if self._since.get(report.gateway_id, (0, 0.0))[0] != report.generation:
                self._since[report.gateway_id] = (report.generation, time.time())

    def all(self) -> list[GatewayReport]:
        """Those that reported lately, by name."""
        oldest = self._clock() - self.ttl
        with self._lock:
            self._reports = {
                name: (report, at) for name, (report, at) in self._reports.items() if at >= oldest
            }
            return [report for _, (report, _) in sorted(self._reports.items())]

    def reached_at(self, generation: int) -> float | None:
        """Unix time at which the last of the ready gateways reported this generation first."""
        ready = {report.gateway_id for report in self.all() if report.ready}
        with self._lock:
            known = {name: self._since[name] for name in ready}
        return max((at for number, at in known.values() if number == generation), default=None)

    def all_serve(self, generation: int) -> bool:
        """Whether a refresh has reached every ready gateway; with no gateway at all it has."""
        reports = self.all()
        ready = [report for report in reports if report.ready]
        if not ready:
            return not reports
        return all(report.generation == generation for report in ready)


class QuestionRecorder:
    """Thread-safe. While recording is switched off it drops what it hears."""

    def __init__(
        self, store: Store, bounds: Bounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._recorded = RecordedQuestions(store)
        self._window = min(WINDOW_SECONDS, bounds.seconds / 10)
        # So many a window that the windows together hold `most`: a busy hour is not all there is.
        self._share = math.ceil(bounds.most * self._window / bounds.seconds)
        self._clock = clock
        self._lock = threading.Lock()
        self._sample = Sample[RecordedQuestion](self._share)
        self._began = clock()
        self._mark: bytes | None = None

    def record(self, questions: Iterable[RecordedQuestion]) -> None:
        if self._share:
            with self._lock:
                for each in questions:
                    self._sample.add(each)

    def write_when_due(self) -> None:
        """At the end of each window; nothing of what was heard before questions were forgotten."""
        if not self._share:
            return
        if self._mark is None:
            self._mark = self._recorded.forgotten()
        if self._clock() - self._began < self._window:
            return
        before, self._mark = self._mark, self._recorded.forgotten()
        with self._lock:
            questions, self._sample = self._sample.items, Sample(self._share)
            self._began = self._clock()
        if questions and before == self._mark:
            path = self._recorded.write(questions)
            if self._recorded.forgotten() != self._mark:
                # Perhaps too late for whoever forgets to have seen the file.
                self._store.delete(path)
                return
            log.info("questions_recorded", questions=len(questions))

    def probes(self, compared: Iterable[Generation]) -> list[dict[str, str]]:
        """Questions with the document that is to be found.

        Whoever answered a question finds its document again, and would be preferred to whoever
        comes after: only those count that no snapshot of those compared answered.
        """
        if not self._share:
            return []
        snapshots = {each.snapshot for each in compared}
        return [
            {"question": each.question, "document_id": each.document_id}
            for each in self._recorded.all()
            if each.snapshot not in snapshots
        ]

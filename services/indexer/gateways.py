"""What gateways report: the generation that each answers with, and questions of users."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from realm.records.generation import Generation
from realm.records.recorded_questions import Bounds, RecordedQuestion, RecordedQuestions, Sample
from realm.records.store import Store
from realm.text.questions import Question

#: A file of questions is written at this interval, or ten times in the time they are kept.
WINDOW_SECONDS = 600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What a gateway answers with; `generation` is 0 when it has none."""

    gateway_id: str
    generation: int
    ready: bool


class GatewayReports:
    """The newest report of each gateway; reports expire after `ttl_seconds`. Thread-safe."""

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
        """Unexpired reports, by gateway."""
        oldest = self._clock() - self.ttl
        with self._lock:
            self._reports = {
                name: (report, at) for name, (report, at) in self._reports.items() if at >= oldest
            }
            return [report for _, (report, _) in sorted(self._reports.items())]

    def reached_at(self, generation: int) -> float | None:
        """Unix time at which the last ready gateway first reported this generation."""
        ready = {report.gateway_id for report in self.all() if report.ready}
        with self._lock:
            known = {name: self._since[name] for name in ready}
        return max((at for number, at in known.values() if number == generation), default=None)

    def all_serve(self, generation: int) -> bool:
        """Whether every ready gateway answers with it; True if there is no gateway at all."""
        reports = self.all()
        ready = [report for report in reports if report.ready]
        if not ready:
            return not reports
        return all(report.generation == generation for report in ready)


class QuestionRecorder:
    """Samples users' questions and writes them to the store. Thread-safe.

    Drops them while recording is switched off.
    """

    def __init__(
        self, store: Store, bounds: Bounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._recorded = RecordedQuestions(store)
        self._window = min(WINDOW_SECONDS, bounds.seconds / 10)
        # Spread over the windows, so that a busy hour does not crowd out the others.
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
        """At the end of each window; drops what came before an operator had questions forgotten."""
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
                # Whoever had them forgotten may have missed this file.
                self._store.delete(path)
                return
            log.info("questions_recorded", questions=len(questions))

    def probes(self, compared: Iterable[Generation]) -> list[Question]:
        """Questions, each with the document to be found and the answer that was given.

        Questions that one of the compared snapshots answered are left out: it would find its own
        document again and be preferred unfairly.
        """
        if not self._share:
            return []
        snapshots = {each.snapshot for each in compared}
        return [
            Question(
                each.question,
                (each.answer,) if each.answer else (),
                document_id=each.document_id,
            )
            for each in self._recorded.all()
            if each.snapshot not in snapshots
        ]

"""Questions that gateways report, spread over time, put into the store by the leader; and which of
them a generation is probed with.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

import structlog

from realm.records.generations import Generation
from realm.records.recorded_questions import Bounds, RecordedQuestion, RecordedQuestions, Sample
from realm.records.store import Store

#: A file is written so often, or ten times in the time for which questions are kept.
WINDOW_SECONDS = 600.0

log = structlog.get_logger(__name__)


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

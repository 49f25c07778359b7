"""A small sample of the questions answered since the last report, for the gate to probe with.

Off unless `REALM_RECORD_QUESTIONS` is set. Nothing is written here: the leading indexer is told.
"""

from __future__ import annotations

from realm.internal.v1 import serving_pb2
from realm.records.recorded_questions import Sample
from realm.settings import Settings
from services.gateway.answering import Response

QUESTIONS_A_REPORT = 8


class Recorder:
    """Lives on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._on = settings.recording.questions
        self._least = settings.recording.probability
        self._sample = Sample[serving_pb2.RecordedQuestion](QUESTIONS_A_REPORT)

    def note(self, question: str, response: Response) -> None:
        """Keeps a question whose best answer is likely enough, with the document it was read in."""
        if not self._on or not response.answers.given:
            return
        best = response.answers.given[0]
        if best.probability < self._least or not best.supports:
            return
        passage = response.passages[best.supports[0].passage].hit.passage
        self._sample.add(
            serving_pb2.RecordedQuestion(
                question=question,
                document_id=passage.document_id,
                snapshot=response.held.serving.generation.snapshot,
            )
        )

    def take(self) -> list[serving_pb2.RecordedQuestion]:
        """What was kept since the last call."""
        taken, self._sample = self._sample.items, Sample(QUESTIONS_A_REPORT)
        return taken

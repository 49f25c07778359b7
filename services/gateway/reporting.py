"""Reports to the leading indexer: what this gateway serves, at every flip and every few seconds,
and small samples of answered questions and of searches, for the gate to ask a candidate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import structlog

from realm.client.wire import from_rpc_error
from realm.internal.v1 import serving_pb2
from realm.records.recorded_questions import Sample
from realm.settings import Settings
from services.gateway.leader import LeaderChannel
from services.gateway.requests import Request, Response
from services.gateway.serving import ServingSlot
from services.gateway.waiting import wait_for_event

log = structlog.get_logger(__name__)

REPORT_TIMEOUT_SECONDS = 2.0
QUESTIONS_A_REPORT = 8
#: Of a search that is reported, filter included.
SEARCH_BYTES = 16 << 10


class QuestionRecorder:
    """Samples questions between two reports, if `REALM_RECORD_QUESTIONS` is set. For the event
    loop; writes nothing by itself."""

    def __init__(self, settings: Settings) -> None:
        self._on = settings.recording.questions
        self._least = settings.recording.probability
        self._sample = Sample[serving_pb2.RecordedQuestion](QUESTIONS_A_REPORT)

    def record(self, question: str, response: Response) -> None:
        """Keeps a question whose best answer is likely enough, with the document it is from."""
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
                answer=best.text,
                snapshot=response.pinned.serving.generation.snapshot,
            )
        )

    def take(self) -> list[serving_pb2.RecordedQuestion]:
        """The sample since the last call."""
        taken, self._sample = self._sample.items, Sample(QUESTIONS_A_REPORT)
        return taken


class SearchSampler:
    """Samples searches between two reports, if `REALM_GATE_SHADOW` is set. For the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._on = settings.gate.shadow > 0
        self._sample = Sample[serving_pb2.LiveSearch](QUESTIONS_A_REPORT)

    def add(self, request: Request, response: Response) -> None:
        if not self._on:
            return
        way = f"RETRIEVAL_{response.retrieval.name}"
        search = serving_pb2.LiveSearch(
            question=request.question, retrieval=way, filter=request.filter
        )
        if search.ByteSize() <= SEARCH_BYTES:
            self._sample.add(search)

    def take(self) -> list[serving_pb2.LiveSearch]:
        """The sample since the last call."""
        taken, self._sample = self._sample.items, Sample(QUESTIONS_A_REPORT)
        return taken


class ServingReporter:
    """Reports until cancelled. A report that fails is not repeated: the next one finds the next
    leader."""

    def __init__(
        self,
        leader: LeaderChannel,
        slot: ServingSlot,
        recorder: QuestionRecorder,
        searches: SearchSampler,
        *,
        gateway_id: str,
        pause_seconds: float,
        is_ready: Callable[[], bool],
    ) -> None:
        self._leader = leader
        self._slot = slot
        self._recorder = recorder
        self._searches = searches
        self._gateway_id = gateway_id
        self._pause = pause_seconds
        self._is_ready = is_ready
        self._wake = asyncio.Event()
        #: Whether the leading indexer took the last report; None before the first.
        self.acknowledged: bool | None = None
        self._stopping = False

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            await self._report()
            await wait_for_event(self._wake, self._pause)

    async def report_stopping(self) -> None:
        """The last report: this gateway takes no more requests."""
        self._stopping = True
        await self._report()

    async def _report(self) -> None:
        serving = self._slot.current
        request = serving_pb2.ReportServingRequest(
            gateway_id=self._gateway_id,
            generation=serving.number if serving else 0,
            ready=self._is_ready() and not self._stopping,
            questions=self._recorder.take(),
            searches=self._searches.take(),
        )
        try:
            await self._leader.serving.ReportServing(
                request, timeout=REPORT_TIMEOUT_SECONDS, metadata=self._leader.credentials
            )
        except grpc.RpcError as error:
            if self.acknowledged is not False:
                reason = from_rpc_error(error, "the indexer").message
                log.warning("report_failed", error=reason)
            self.acknowledged = False
        else:
            self.acknowledged = True

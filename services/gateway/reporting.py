"""Tells the leading indexer what this gateway answers with, at every flip and every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import structlog

from realm.internal.v1 import serving_pb2
from realm.process.rpc import from_rpc_error
from realm.settings import Settings
from services.gateway.events import happens
from services.gateway.leader import Leader
from services.gateway.recording import Recorder
from services.gateway.serving import ServingSlot

log = structlog.get_logger(__name__)

REPORT_TIMEOUT_SECONDS = 2.0


class Reporter:
    """An indexer that is gone is no reason to stop: the next report finds the next leader."""

    def __init__(
        self,
        settings: Settings,
        leader: Leader,
        slot: ServingSlot,
        is_ready: Callable[[], bool],
        recorder: Recorder,
        gateway_id: str,
    ) -> None:
        self._pause = settings.gateway.report_seconds
        self._leader = leader
        self._slot = slot
        self._is_ready = is_ready
        self._recorder = recorder
        self._gateway_id = gateway_id
        self._wake = asyncio.Event()
        #: Whether the leading indexer took the last report; None before the first.
        self.heard: bool | None = None
        self._stopping = False

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            await self._report()
            await happens(self._wake, self._pause)

    async def say_goodbye(self) -> None:
        """The last report: this gateway takes no more requests."""
        self._stopping = True
        await self._report()

    async def _report(self) -> None:
        serving = self._slot.current
        request = serving_pb2.ReportServingRequest(
            gateway_id=self._gateway_id,
            generation=serving.number if serving else 0,
            ready=self._is_ready() and not self._stopping,
            draining_requests=self._slot.draining,
            questions=self._recorder.take(),
        )
        try:
            await self._leader.serving.ReportServing(request, timeout=REPORT_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            if self.heard is not False:
                reason = from_rpc_error(error, "the indexer").message
                log.warning("report_not_heard", error=reason)
            self.heard = False
        else:
            self.heard = True

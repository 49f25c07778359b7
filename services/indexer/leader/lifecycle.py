"""What the process does at the moment: it stands by, leads, or has to end; and says so as health.

`""` and the services are SERVING while it leads. `live` is SERVING while its parts are at work,
`able` besides while it could lead if it had to: what a cluster asks before it moves another pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2

from realm.errors import RealmError
from realm.internal.v1 import serving_pb2
from realm.process.rpc import LIVE_NAME, AroundInterceptor
from realm.v1 import corpus_pb2, index_pb2
from services.indexer.indexer import Indexer
from services.indexer.leader.election import Election

LEADING_NAMES = (
    "",
    corpus_pb2.DESCRIPTOR.services_by_name["CorpusService"].full_name,
    index_pb2.DESCRIPTOR.services_by_name["IndexService"].full_name,
    serving_pb2.DESCRIPTOR.services_by_name["ServingReportService"].full_name,
)
ABLE_NAME = "able"
LOOK_SECONDS = 0.2
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class LeaderLifecycle:
    """Follows the election on the event loop; starts the indexer when it leads."""

    def __init__(self, indexer: Indexer, election: Election) -> None:
        self.health = health_aio.HealthServicer()
        self.leads = False
        self._indexer = indexer
        self._election = election

    async def begin(self) -> None:
        """One look, so that a lone indexer leads before it listens; then as a thread."""
        for name in (LIVE_NAME, ABLE_NAME):
            await self._say(name, True)
        for name in LEADING_NAMES:
            await self._say(name, False)
        try:
            await asyncio.to_thread(self._election.tick)
            await self._lead_if_elected()
        except RealmError as error:
            log.warning("not_leading_yet", why=str(error))
        self._election.start()

    async def until(self, stopped: asyncio.Event) -> str:
        """Why it has to end; empty if it was asked to."""
        pause = LOOK_SECONDS
        while not stopped.is_set():
            if why := self._unfit():
                await self._unserve()
                log.error("indexer_ends", why=why)
                return why
            try:
                await self._lead_if_elected()
                pause = LOOK_SECONDS
            except RealmError as error:
                log.warning("not_leading_yet", why=str(error))
                pause = RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await stopped.wait()
            except TimeoutError:
                continue
        return ""

    def end(self, *, resign: bool) -> None:
        """Ends the threads; who left nothing undone says so, and a standby leads at once."""
        ended = self._indexer.stop()
        self._election.stop(resign=resign and ended)

    def not_leader(self) -> RealmError:
        return self._election.not_leader()

    async def _lead_if_elected(self) -> None:
        if self.leads or not self._election.leads:
            return
        await asyncio.to_thread(self._indexer.start)
        self.leads = True
        for name in LEADING_NAMES:
            await self._say(name, True)
        log.info("indexer_leads", term=self._election.term)

    def _unfit(self) -> str:
        if self._election.lost:
            return "another indexer leads now"
        if not self._election.alive:
            return "the election's thread died"
        if dead := self._indexer.dead_threads():
            return f"a part of it died: {', '.join(dead)}"
        return ""

    async def _unserve(self) -> None:
        self.leads = False
        for name in (*LEADING_NAMES, LIVE_NAME, ABLE_NAME):
            await self._say(name, False)

    async def _say(self, name: str, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self.health.set(name, status.SERVING if serving else status.NOT_SERVING)


class LeaderInterceptor(AroundInterceptor):
    """Only a leader answers: others say who leads. Health is everybody's. Innermost."""

    def __init__(self, lifecycle: LeaderLifecycle) -> None:
        super().__init__()
        self._lifecycle = lifecycle

    @asynccontextmanager
    async def around(self, method: str, kind: str, context: Any) -> AsyncIterator[None]:
        if not method.startswith("/grpc.health.") and not self._lifecycle.leads:
            raise self._lifecycle.not_leader()
        yield

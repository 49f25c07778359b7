"""Asks the gateway all along, as a user would, and writes down what came back."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path

import structlog

from realm.client import AsyncClient
from realm.corpus.passages import Passage
from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.model.runtime import set_threads
from realm.process import telemetry
from realm.process.signals import stop_signals
from realm.records.generations import Generations
from realm.records.store import Store
from realm.settings import Settings, load_settings
from services.standalone.load.audit import Auditor, Verdict
from services.standalone.load.questions import make_question, sample_passages
from services.standalone.load.visits import Visit, write_visit

#: One request in so many is a question to be answered; the others are searches.
ANSWER_EVERY = 6
#: One search in so many is recomputed from the store.
AUDIT_EVERY = 5
DEADLINE_SECONDS = 30.0
#: A gateway that was killed is back in seconds: until the deadline a user asks again.
RETRY_SECONDS = 0.3
ANSWER_PASSAGES = 3

log = structlog.get_logger(__name__)


class Visitor:
    """One request after another at a steady rate, several under way at once."""

    def __init__(self, settings: Settings, visits: Path, rate: float) -> None:
        self._client = AsyncClient(settings.addresses.gateway_address, timeout=DEADLINE_SECONDS)
        self._store = Store.open(settings.addresses.store_url, settings.addresses.store_cache)
        self._auditor = Auditor(self._store)
        self._auditing = asyncio.Lock()
        self._visits = visits
        self._rate = rate
        self._rng = random.Random(settings.trainer.seed)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        passages = await self._first_passages(stop)
        await self._first_answer(stop)
        count = 0
        while not stop.is_set():
            question = make_question(passages, self._rng)
            task = asyncio.create_task(self._visit(question, count))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            count += 1
            await _sleep(stop, 1 / self._rate)
        await asyncio.gather(*self._under_way)
        await self._client.close()

    async def _first_passages(self, stop: asyncio.Event) -> list[Passage]:
        """Waits for the first live generation: nothing can be asked before."""
        generations = Generations(self._store)
        while not stop.is_set():
            if live := generations.live():
                return sample_passages(self._store, generations.get(live.generation), self._rng)
            await _sleep(stop, 0.2)
        return []

    async def _first_answer(self, stop: asyncio.Event) -> None:
        """What is live is not yet loaded by a gateway that just started."""
        while not stop.is_set():
            try:
                await self._client.search("hello", limit=1)
            except RealmError as error:
                log.info("waiting_for_gateway", reason=str(error))
                await _sleep(stop, 0.5)
            else:
                return

    async def _visit(self, question: str, count: int) -> None:
        kind = "answer" if count % ANSWER_EVERY == ANSWER_EVERY - 1 else "search"
        began = time.monotonic()
        try:
            visit = await self._patiently(kind, question, audit=count % AUDIT_EVERY == 0)
        except RealmError as error:
            log.warning("visit_failed", kind=kind, question=question, error=str(error))
            visit = Visit(time.time(), kind, time.monotonic() - began, failed=str(error))
        write_visit(self._visits, visit)

    async def _patiently(self, kind: str, question: str, *, audit: bool) -> Visit:
        deadline = time.monotonic() + DEADLINE_SECONDS
        retries = 0
        while True:
            try:
                visit = await self._ask(kind, question, audit=audit)
            except (DependencyUnavailable, NotReady):
                if time.monotonic() > deadline:
                    raise
                retries += 1
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return replace(visit, retries=retries)

    async def _ask(self, kind: str, question: str, *, audit: bool) -> Visit:
        began = time.monotonic()
        verdict = ""
        if kind == "answer":
            answered = await self._client.ask(question, passages=ANSWER_PASSAGES)
            version = answered.index_version
            latency = time.monotonic() - began
            agree = await asyncio.to_thread(self._auditor.names_agree, version)
            verdict = "" if agree else Verdict.MIXED
        else:
            found = await self._client.search(question)
            version = found.index_version
            latency = time.monotonic() - began
            if audit:
                async with self._auditing:
                    verdict = await asyncio.to_thread(self._auditor.check, question, found)
        return Visit(
            at=time.time(),
            kind=kind,
            latency=latency,
            generation=version.generation,
            snapshot=version.snapshot,
            verdict=str(verdict),
        )


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Until stop is set, at most so long."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def _main(settings: Settings, visits: Path, rate: float) -> None:
    stop = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Visitor(settings, visits, rate).run(stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=Path, required=True, help="file of JSON lines to append")
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second")
    arguments = parser.parse_args()
    settings = load_settings()
    telemetry.set_up(settings, "visitor")
    set_threads(settings.process.threads)
    asyncio.run(_main(settings, arguments.visits, arguments.rate))


if __name__ == "__main__":
    main()

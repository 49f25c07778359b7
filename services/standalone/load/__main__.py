"""The load generator: asks the gateway questions at a steady rate and logs every answer."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from realm.client import AsyncClient
from realm.corpus.passages import Passage, from_table
from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.model.runtime import set_threads
from realm.process import telemetry
from realm.process.signals import stop_signals
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.store import Store
from realm.settings import Settings, load_settings
from realm.text.cloze import inverse_cloze
from realm.v1.answer_pb2 import AnswerQuestionResponse
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from services.standalone.load.audit import Auditor
from services.standalone.load.request_log import RequestRecord, append_record

#: One request in this many is a question to answer; the others are searches.
ANSWER_EVERY = 6
#: One search in this many is checked against the store, and each answer.
AUDIT_EVERY = 5
DEADLINE_SECONDS = 30.0
#: A gateway that was killed is back within seconds: a user asks again until the deadline.
RETRY_SECONDS = 0.3
ANSWER_PASSAGES = 3
#: Questions are made from a sample of this many passages.
SAMPLED_PASSAGES = 500
TITLE_SHARE = 0.5
MAX_QUESTION_LENGTH = 500

log = structlog.get_logger(__name__)


class LoadGenerator:
    """Sends one request after another at a steady rate, several in flight at once."""

    def __init__(self, settings: Settings, request_log: Path, rate: float) -> None:
        """:param rate: requests a second."""
        self._client = AsyncClient(settings.addresses.gateway_address, timeout=DEADLINE_SECONDS)
        self._store = Store.open(settings.addresses.store_url, settings.addresses.store_cache)
        self._auditor = Auditor(self._store)
        self._auditing = asyncio.Lock()
        self._request_log = request_log
        self._rate = rate
        self._rng = random.Random(settings.trainer.seed)
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        passages = await self._sample_passages(stop)
        await self._wait_for_gateway(stop)
        count = 0
        while not stop.is_set():
            question = make_question(passages, self._rng)
            task = asyncio.create_task(self._send(question, count))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
            count += 1
            await _sleep(stop, 1 / self._rate)
        await asyncio.gather(*self._in_flight)
        await self._client.close()

    async def _sample_passages(self, stop: asyncio.Event) -> list[Passage]:
        """Waits for the first live generation and samples its passages."""
        generations = Generations(self._store)
        while not stop.is_set():
            if live := generations.live():
                return sample_passages(self._store, generations.get(live.generation), self._rng)
            await _sleep(stop, 0.2)
        return []

    async def _wait_for_gateway(self, stop: asyncio.Event) -> None:
        """Waits for a first answer: a gateway that just started has not loaded its models yet."""
        while not stop.is_set():
            try:
                await self._client.search("hello", limit=1)
            except RealmError as error:
                log.info("waiting_for_gateway", reason=str(error))
                await _sleep(stop, 0.5)
            else:
                return

    async def _send(self, question: str, count: int) -> None:
        kind = "answer" if count % ANSWER_EVERY == ANSWER_EVERY - 1 else "search"
        began = time.monotonic()
        try:
            record = await self._retry(kind, question, audit=count % AUDIT_EVERY == 0)
        except RealmError as error:
            log.warning("request_failed", kind=kind, question=question, error=str(error))
            latency = time.monotonic() - began
            record = RequestRecord(time.time(), kind, latency, failed=str(error))
        append_record(self._request_log, record)

    async def _retry(self, kind: str, question: str, *, audit: bool) -> RequestRecord:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((DependencyUnavailable, NotReady)),
            stop=stop_after_delay(DEADLINE_SECONDS),
            wait=wait_fixed(RETRY_SECONDS),
            reraise=True,
        ):
            with attempt:
                record = await self._ask(kind, question, audit=audit)
        return replace(record, retries=attempt.retry_state.attempt_number - 1)

    async def _ask(self, kind: str, question: str, *, audit: bool) -> RequestRecord:
        began = time.monotonic()
        response: RetrievePassagesResponse | AnswerQuestionResponse
        if kind == "answer":
            response = await self._client.ask(question, passages=ANSWER_PASSAGES)
        else:
            response = await self._client.search(question)
        latency = time.monotonic() - began
        version, verdict = response.index_version, ""
        if audit or kind == "answer":
            async with self._auditing:
                audited = await asyncio.to_thread(self._auditor.check, question, response)
                verdict = audited.verdict
        return RequestRecord(
            at=time.time(),
            kind=kind,
            latency=latency,
            generation=version.generation,
            snapshot=version.snapshot,
            verdict=verdict,
        )


def sample_passages(store: Store, generation: Generation, rng: random.Random) -> list[Passage]:
    """A sample of a generation's passages, evenly from all of its shards."""
    found: list[Passage] = []
    share = max(1, SAMPLED_PASSAGES // max(1, len(generation.passage_files)))
    for file in generation.passage_files:
        passages = from_table(arrow.read_table(store, file))
        found += rng.sample(passages, min(share, len(passages)))
    return found


def make_question(passages: list[Passage], rng: random.Random) -> str:
    """A question about a passage's title, or a sentence taken out of a passage."""
    passage = rng.choice(passages)
    if passage.title and rng.random() < TITLE_SHARE:
        return f"What is {passage.title}?"[:MAX_QUESTION_LENGTH]
    cloze = inverse_cloze(passage.text, rng)
    return (cloze[0] if cloze else passage.text)[:MAX_QUESTION_LENGTH]


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Returns early when stop is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _main(settings: Settings, request_log: Path, rate: float) -> None:
    stop = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await LoadGenerator(settings, request_log, rate).run(stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request-log", type=Path, required=True, help="JSON lines file")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    arguments = parser.parse_args()
    settings = load_settings()
    telemetry.set_up(settings, "load-generator")
    set_threads(settings.process.threads)
    asyncio.run(_main(settings, arguments.request_log, arguments.rate))


if __name__ == "__main__":
    main()

"""What the gateway is compared with: the same encoder, reader, batches and searches in one process,
without a server. `python -m bench.serve.pipeline` takes turns as JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.serve.load import closed
from realm.model.answering import Prepared, answer_prepared, prepare
from realm.model.answers import Answers, Reading
from realm.model.inputs import Encoded
from realm.model.relevance import log_probabilities
from realm.model.runtime import best_dtype, set_threads
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.search.vector_index import Hit, VectorSearch, open_search, relevance_of
from realm.settings import load_settings
from services.gateway.batcher import Batcher
from services.gateway.computing import batch_tokens
from services.gateway.serving import Serving, load_serving

SEARCH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Questions asked by `clients` at once for some seconds, of a kind: search or answer."""

    kind: str
    clients: int
    seconds: float
    limit: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Questions a second, processor seconds a question, and the latencies."""

    rate: float
    processor: float
    latencies: list[float]


class Pipeline:
    def __init__(self, serving: Serving, search: VectorSearch, tokens: tuple[int, int]) -> None:
        self._serving = serving
        self._search = search
        self._encode: Batcher[Serving, Encoded, NDArray[np.float32]] = Batcher(
            lambda serving, inputs: list(serving.encoder.encode(inputs, token_budget=tokens[0])),
            size=tokens[0],
            executor=ThreadPoolExecutor(1),
        )
        self._read: Batcher[Serving, Prepared, Answers] = Batcher(
            lambda serving, work: answer_prepared(
                serving.reader, work, serving.inputs.pad, dtype=serving.dtype
            ),
            size=tokens[1],
            executor=ThreadPoolExecutor(1),
        )

    async def __aenter__(self) -> Pipeline:
        await self._encode.__aenter__()
        await self._read.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._encode.__aexit__()
        await self._read.__aexit__()

    async def run(self, turn: Turn, questions: list[str]) -> Outcome:
        async def ask(question: str) -> object:
            found = await self.search(question, turn.limit)
            return await self.read(question, found) if turn.kind == "answer" else found

        async with self:
            before = time.process_time()
            served = await closed(ask, questions, turn.clients, turn.seconds)
            spent = time.process_time() - before
        return Outcome(served.rate, spent / len(served.answered), served.answered)

    async def search(self, question: str, limit: int) -> list[tuple[Hit, float]]:
        text, query = self._serving.inputs.question(question)
        terms = self._serving.queries.terms(text)
        vector = await self._encode.submit(self._serving, query, len(query))
        asked = self._serving.queries.weighed(terms, vector, Retrieval.HYBRID)
        generation = self._serving.generation
        version = generation.corpus_version if generation.marked else None
        found = await self._search.search(
            generation.collection, asked, limit, SEARCH_SECONDS, version
        )
        hits = found.hits
        priors = log_probabilities(np.array(relevance_of(hits, asked))).tolist()
        return list(zip(hits, priors, strict=True))

    async def read(self, question: str, found: list[tuple[Hit, float]]) -> Answers:
        reading = Reading(
            question,
            tuple(hit.passage.text for hit, _ in found),
            tuple(prior for _, prior in found),
        )
        serving = self._serving
        prepared = await asyncio.to_thread(prepare, serving.reader, serving.inputs, reading)
        return await self._read.submit(serving, prepared, prepared.tokens)


async def main() -> None:
    settings = load_settings()
    set_threads(settings.process.threads)
    store = Store.open(settings.addresses.store_url)
    generations, snapshots = Generations(store), Snapshots(store)
    entry = generations.live()
    assert entry is not None
    generation = generations.get(entry.generation)
    device = torch.device("cpu")
    serving = load_serving(
        store,
        snapshots,
        snapshots.get(generation.snapshot),
        generation,
        entry,
        device=device,
        dtype=best_dtype(device),
    )
    search = open_search(settings)
    pipeline = Pipeline(serving, search, batch_tokens(settings))
    questions: list[str] = json.loads(sys.stdin.readline())
    while line := await asyncio.to_thread(sys.stdin.readline):
        given: dict[str, Any] = json.loads(line)
        outcome = await pipeline.run(Turn(**given), questions)
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()
    await search.close()


if __name__ == "__main__":
    asyncio.run(main())

"""What the models compute for questions: in a thread for encoding and one for reading, so that
neither waits for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from realm.model.answering import Prepared, answer_prepared, prepare
from realm.model.answers import Answers, Reading
from realm.model.inputs import Encoded
from realm.model.runtime import pick_device
from realm.records.vectors import NO_VECTOR
from realm.search.bm25 import SparseVector
from realm.settings import Settings
from services.gateway.admission.admission import Place
from services.gateway.admission.lanes import Lanes, Work
from services.gateway.batcher import Batcher, Computed, ComputeThread
from services.gateway.metrics import GatewayMetrics
from services.gateway.serving import Serving

ComputeStage = Literal["encode", "read"]
#: A question with each passage that a cross-encoder scores.
Pairs = list[tuple[str, str]]

Reads = Callable[[Serving, list[Any]], list[Any]]

#: Tokens of a full batch, to encode and to read: more at once are no faster, and others wait.
CPU_BATCH_TOKENS = (512, 2048)
CUDA_BATCH_TOKENS = (16_384, 65_536)
#: Of the thread that encodes: the event loop, which refuses what is too much, does not wait for it.
#: At thrice the load on one processor the p95 of refusals is 42 ms with it and 62 without. Less
#: than an embedder has on the same machine.
ENCODE_NICENESS = 3
#: About how long a word piece is, until a question is tokenised, and how many are encoded.
CHARACTERS_A_TOKEN = 4
MOST_TOKENS = 94
#: About how many word pieces a passage is, until some were read; what one more changes in it.
PASSAGE_TOKENS = 128.0
NOVELTY = 0.02
#: Characters that are tokenised faster than another thread is asked to.
SHORT_TEXT = 512


@dataclass(frozen=True, slots=True)
class Question:
    """A question as far as its encoder reads it: `query` for the encoder, `terms` for the words."""

    text: str
    query: Encoded
    terms: SparseVector


class Computing:
    """An async context manager for its threads and batches."""

    def __init__(self, settings: Settings, lanes: Lanes, metrics: GatewayMetrics) -> None:
        self._lanes = lanes
        self._metrics = metrics
        self._passage_tokens = PASSAGE_TOKENS
        self._stack = AsyncExitStack()
        self._threads = {
            "encode": ComputeThread("encode", ENCODE_NICENESS),
            "read": ComputeThread("read"),
        }
        #: For texts that would hold up the event loop.
        self._texts = ThreadPoolExecutor(1, "texts")
        metrics.stalled.set_function(lambda: self.stalled_seconds)
        to_encode, to_read = batch_tokens(settings)
        self._encode: Batcher[Serving, Encoded, NDArray[np.float32]] = self._batcher(
            "encode", partial(_encode, tokens=to_encode), to_encode
        )
        # By what reads as well: one thread, one queue, batches of either.
        self._read: Batcher[tuple[Serving, Reads], Any, Any] = self._batcher(
            "read", lambda key, work: key[1](key[0], work), to_read
        )

    def _batcher(
        self, stage: ComputeStage, compute: Callable[[Any, list[Any]], list[Any]], size: int
    ) -> Batcher[Any, Any, Any]:
        def learn(computed: Computed) -> None:
            self._metrics.batch.labels(stage).observe(computed.items)
            self._lanes[stage].cost.learn(computed.weight, computed.seconds)

        return Batcher(compute, size=size, executor=self._threads[stage], on_batch=learn)

    async def __aenter__(self) -> Computing:
        await self._stack.enter_async_context(self._encode)
        await self._stack.enter_async_context(self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        for each in (*self._threads.values(), self._texts):
            each.shutdown(wait=False, cancel_futures=True)

    @property
    def stalled_seconds(self) -> float:
        """For how long questions have waited for a model without any being finished."""
        return max(each.stalled_seconds for each in self._threads.values())

    def work_of(self, question: str, passages: int) -> Work:
        """What a question takes, by its length alone.

        :param passages: how many will be read.
        """
        tokens = min(len(question) / CHARACTERS_A_TOKEN, MOST_TOKENS) + 2
        return {"encode": tokens, "search": 1, "read": passages * (self._passage_tokens + tokens)}

    async def question(self, serving: Serving, text: str) -> Question:
        """:raises InvalidInput: if nothing is left of the text after normalisation."""
        if len(text) <= SHORT_TEXT:
            return _question(serving, text)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._texts, _question, serving, text)

    async def encode(
        self, serving: Serving, question: Question, place: Place
    ) -> NDArray[np.float32]:
        """The question's vector [size]."""
        if serving.generation.words_alone:
            place.expect("encode", 0)
            return NO_VECTOR
        weight = len(question.query)
        place.expect("encode", weight)
        with self._metrics.stage("encode"):
            vector = await self._encode.submit(serving, question.query, weight, place.caller)
        place.expect("encode", 0)
        return vector

    async def read(self, serving: Serving, reading: Reading, place: Place) -> Answers:
        with self._metrics.stage("read"):
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(
                self._texts, prepare, serving.reader, serving.inputs, reading
            )
            for body in prepared.bodies:
                self._passage_tokens += (len(body.encoded) - self._passage_tokens) * NOVELTY
            weight = max(1, prepared.tokens)
            place.expect("read", weight)
            answers: Answers = await self._read.submit(
                (serving, _read), prepared, weight, place.caller
            )
        place.expect("read", 0)
        return answers

    async def cross_encode(self, serving: Serving, pairs: Pairs, place: Place) -> list[float]:
        """What each pair adds to f(x, z)."""
        weight = sum(len(one) + len(other) for one, other in pairs) // CHARACTERS_A_TOKEN + 1
        place.expect("read", weight)
        with self._metrics.stage("read"):
            scores: list[float] = await self._read.submit(
                (serving, _cross_encode), pairs, weight, place.caller
            )
        place.expect("read", 0)
        return scores


def batch_tokens(settings: Settings) -> tuple[int, int]:
    """Of a full batch, to encode and to read."""
    on_cuda = pick_device(settings.process.device).type == "cuda"
    usual = CUDA_BATCH_TOKENS if on_cuda else CPU_BATCH_TOKENS
    asked = settings.gateway.encode_batch_tokens, settings.gateway.read_batch_tokens
    return asked[0] or usual[0], asked[1] or usual[1]


def _question(serving: Serving, text: str) -> Question:
    read, query = serving.inputs.question(text)
    return Question(read, query, serving.queries.terms(read))


def _encode(serving: Serving, inputs: list[Encoded], tokens: int) -> list[NDArray[np.float32]]:
    return list(serving.encoder.encode(inputs, token_budget=tokens))


def _read(serving: Serving, prepared: list[Prepared]) -> list[Answers]:
    return answer_prepared(serving.reader, prepared, serving.inputs.pad, dtype=serving.dtype)


def _cross_encode(serving: Serving, asked: list[Pairs]) -> list[list[float]]:
    if (cross := serving.cross_encoder) is None:
        return [[0.0] * len(pairs) for pairs in asked]
    scores = iter(cross.scores([pair for pairs in asked for pair in pairs], dtype=serving.dtype))
    return [[cross.config.weight * next(scores) for _ in pairs] for pairs in asked]

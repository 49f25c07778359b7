"""From a question to passages and answers: encode → search → p(z|x) → read, on one generation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    NotFound,
    NotReady,
    Overloaded,
    RealmError,
)
from realm.model.answering import Answers, Reading, answer_questions
from realm.model.cross_encoder import pair_text
from realm.model.encoders import encode
from realm.model.inputs import Encoded
from realm.model.relevance import log_probabilities
from realm.process.rpc import annotate_call
from realm.retrieval import Retrieval
from realm.search.vector_index import Hit, Query, VectorSearch, relevance_of
from realm.settings import Settings
from realm.v1.types_pb2 import Filter
from services.gateway.batcher import Batcher, ComputeThread
from services.gateway.metrics import GatewayMetrics
from services.gateway.serving import PinnedServing, Serving, ServingSlot

log = structlog.get_logger(__name__)

NO_ANSWERS = Answers(())
#: A question with each passage that a cross-encoder scores.
Pairs = list[tuple[str, str]]

#: How long a request whose collection is gone waits for the next flip.
FLIP_WAIT_SECONDS = 5.0
#: How long, and how often, a search is retried while Qdrant does not serve.
SEARCH_RETRY_SECONDS = 30.0
SEARCH_PAUSE_SECONDS = 0.25
#: How long the probe of a lost collection may take.
PROBE_SECONDS = 1.0


class Admission:
    """Limits the questions answered at once. A call of its own is refused beyond that. Questions of
    streams wait for their turn, first come, first served, in a half of the places that calls
    never keep them from."""

    def __init__(self, max_inflight: int, metrics: GatewayMetrics) -> None:
        self._most = max_inflight
        self._streamed = max(1, max_inflight // 2)
        self._turns = asyncio.Semaphore(self._streamed)
        self._inflight = 0
        self._metrics = metrics

    @property
    def capacity(self) -> int:
        """The most questions that are ever answered at once."""
        return self._most + self._streamed

    @contextmanager
    def admit(self) -> Iterator[None]:
        """:raises Overloaded: beyond the limit."""
        if self._inflight >= self._most:
            raise Overloaded(
                f"{self._inflight} questions are being answered already; try again in a moment"
            )
        with self._counted():
            yield

    @asynccontextmanager
    async def admit_streamed(self) -> AsyncIterator[None]:
        async with self._turns:
            with self._counted():
                yield

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._inflight += 1
        self._metrics.inflight.inc()
        try:
            yield
        finally:
            self._inflight -= 1
            self._metrics.inflight.dec()


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A passage with its score and log p(z|x) among those found. The score is f(x, z), and where
    passages were re-ranked `reading` is what the reader adds to it."""

    hit: Hit
    score: float
    log_probability: float
    reading: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """`answers` 0 asks for passages alone; `retrieval` None leaves it to the setting; `at_least` is
    the corpus version that must be searched. The best `rerank` passages are read, and ranked by
    what is found in them too; those of a score below `least_score` are left out. Only passages of
    documents that pass `filter` take part (None: all)."""

    question: str
    passages: int
    answers: int = 0
    retrieval: Retrieval | None = None
    at_least: int = 0
    rerank: int = 0
    least_score: float = -math.inf
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Passages, how they were chosen and, if asked for, answers, all of one generation."""

    pinned: PinnedServing
    retrieval: Retrieval
    passages: list[Retrieved]
    answers: Answers


class Answering:
    """Answers many questions at once; an async context manager for its batchers."""

    def __init__(
        self, settings: Settings, slot: ServingSlot, search: VectorSearch, metrics: GatewayMetrics
    ) -> None:
        self._slot = slot
        self._search = search
        self._metrics = metrics
        self._retrieval = settings.gateway.retrieval
        self.admission = Admission(settings.gateway.max_inflight, metrics)
        self._stack = AsyncExitStack()
        self._executor = ComputeThread()
        metrics.stalled.set_function(lambda: self._executor.stalled_seconds)
        self._encode: Batcher[Serving, Encoded, NDArray[np.float32]] = self._batcher(
            "encode", _encode, settings.gateway.serve_batch, settings
        )
        self._read: Batcher[Serving, Reading, Answers] = self._batcher(
            "read", _read, settings.gateway.read_batch, settings
        )
        self._score: Batcher[Serving, Pairs, list[float]] = self._batcher(
            "cross_encode", _cross_encode, settings.gateway.read_batch, settings
        )

    def _batcher(
        self,
        stage: str,
        compute: Callable[[Serving, list[Any]], list[Any]],
        size: int,
        settings: Settings,
    ) -> Batcher[Serving, Any, Any]:
        return Batcher(
            compute,
            size=size,
            wait=settings.gateway.batch_wait_seconds,
            capacity=self.admission.capacity,
            executor=self._executor,
            on_batch=self._metrics.batch.labels(stage).observe,
        )

    async def __aenter__(self) -> Answering:
        await self._stack.enter_async_context(self._encode)
        await self._stack.enter_async_context(self._read)
        await self._stack.enter_async_context(self._score)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def stalled_seconds(self) -> float:
        """For how long questions have waited for the models without any being finished."""
        return self._executor.stalled_seconds

    async def recheck_lost_collection(self) -> None:
        """Probes a collection that was gone: an unready gateway gets no questions to notice by."""
        if (serving := self._slot.lost) is None:
            return
        nothing = np.zeros(serving.generation.vector_size, np.float32)
        query = Query(nothing)
        try:
            await self._search.search(serving.generation.collection, query, 1, PROBE_SECONDS)
        except RealmError:
            return
        self._slot.mark_found(serving)

    async def respond(self, request: Request, seconds: float) -> Response:
        """The passages that most likely help, best first, and the best answers in them.

        :raises NotReady: if nothing is live, or `at_least` is not applied in time.
        :raises FailedPrecondition: if the live generation was built without BM25.
        :raises DeadlinePassed: after `seconds`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                return await self._respond(request, deadline)
        except TimeoutError as error:
            raise DeadlinePassed(
                f"no answer within the {seconds:.1f} s that the caller gave"
            ) from error

    async def _respond(self, request: Request, deadline: float) -> Response:
        """Begins again once, if the collection is gone since the request began."""
        loop = asyncio.get_running_loop()
        if request.at_least:
            wait_seconds = _time_to_wait(deadline - loop.time())
            await self._slot.wait_applied(request.at_least, wait_seconds)
        for _ in range(2):
            with self._slot.pin() as pinned:
                gone = pinned.serving
                annotate_call(generation=gone.number)
                try:
                    response = await self._attempt(pinned, request, deadline - loop.time())
                    return self._checked(response, request.at_least)
                except NotFound as error:
                    log.warning("collection_gone", generation=gone.number, error=error.message)
            wait_seconds = min(FLIP_WAIT_SECONDS, _time_to_wait(deadline - loop.time()))
            if not await self._slot.wait_flip(gone, wait_seconds):
                break
        self._slot.mark_lost(gone)
        raise NotReady(
            f"the collection of generation {gone.number} is gone; ask again in a moment",
            generation=gone.number,
            waited=f"{wait_seconds:.2f}",
        )

    async def _attempt(self, pinned: PinnedServing, request: Request, seconds: float) -> Response:
        retrieval = pinned.serving.retrieval(request.retrieval, self._retrieval)
        pinned.serving.check_filter(request.filter)
        found = await self._retrieve(pinned.serving, request, retrieval, seconds)
        read = NO_ANSWERS
        if request.rerank and pinned.serving.cross_encoder is not None:
            found = await self._cross_encode(pinned.serving, request, found)
        elif request.answers or request.rerank:
            found, read = await self._read_passages(pinned.serving, request, found)
        found = [each for each in found if each.score >= request.least_score]
        return Response(pinned, retrieval, found, read)

    async def _read_passages(
        self, serving: Serving, request: Request, found: list[Retrieved]
    ) -> tuple[list[Retrieved], Answers]:
        """What is found in the passages, and the passages ranked by it if that was asked for."""
        rest = found[request.rerank :] if request.rerank else []
        found = found[: len(found) - len(rest)]
        reading = Reading(
            request.question,
            tuple(each.hit.passage.text for each in found),
            tuple(each.log_probability for each in found),
            max(1, request.answers),
        )
        with self._metrics.stage("read"):
            read = await self._read.submit(serving, reading, weight=max(1, len(found)))
        if request.rerank:
            weight = serving.reader.answers.evidence
            found = rerank(found, rest, read.evidence, weight)[: request.passages]
        return found, read

    async def _cross_encode(
        self, serving: Serving, request: Request, found: list[Retrieved]
    ) -> list[Retrieved]:
        """The passages ranked by the snapshot's cross-encoder too, which reads no answer."""
        best, rest = found[: request.rerank], found[request.rerank :]
        texts = [pair_text(each.hit.passage.title, each.hit.passage.text) for each in best]
        pairs = [(request.question, text) for text in texts]
        with self._metrics.stage("read"):
            scored = await self._score.submit(serving, pairs, weight=max(1, len(pairs)))
        return rerank(best, rest, scored, 1.0)[: request.passages]

    def _checked(self, response: Response, at_least: int) -> Response:
        """The response, marked damaged if the index was found so meanwhile.

        :raises NotReady: then, if the caller asked for a version.
        """
        number = response.pinned.serving.number
        freshness = self._slot.freshness(number)
        if freshness is None or not freshness.damaged:
            return response
        if at_least:
            raise NotReady(
                f"generation {number} is damaged and being rebuilt; ask again in a moment",
                corpus_version=0,
            )
        return replace(response, pinned=replace(response.pinned, freshness=freshness))

    async def _retrieve(
        self, serving: Serving, request: Request, retrieval: Retrieval, seconds: float
    ) -> list[Retrieved]:
        with self._metrics.stage("encode"):
            vector = await self._encode.submit(serving, serving.inputs.query(request.question))
        with self._metrics.stage("search"):
            query = replace(
                serving.queries.query(request.question, vector, retrieval), filter=request.filter
            )
            hits = await self._search_with_retries(
                serving.generation.collection, query, max(request.passages, request.rerank), seconds
            )
        self._slot.mark_found(serving)
        self._metrics.retrieved.observe(len(hits))
        return score_passages(hits, query)

    async def _search_with_retries(
        self, collection: str, query: Query, limit: int, seconds: float
    ) -> list[Hit]:
        """Retries while Qdrant restarts, if the caller has the time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        give_up_at = began + min(SEARCH_RETRY_SECONDS, _time_to_wait(seconds))
        while True:
            try:
                left = began + seconds - loop.time()
                return await self._search.search(collection, query, limit, left)
            except DependencyUnavailable as error:
                if loop.time() + SEARCH_PAUSE_SECONDS >= give_up_at:
                    # `waited` tells the client not to retry.
                    waited = f"{loop.time() - began:.2f}"
                    raise DependencyUnavailable(error.message, waited=waited) from error
            await asyncio.sleep(SEARCH_PAUSE_SECONDS)


def score_passages(hits: Sequence[Hit], query: Query) -> list[Retrieved]:
    """f(x, z) of each, and log p(z|x) among those found."""
    scores = relevance_of(hits, query)
    priors = log_probabilities(np.array(scores)).tolist()
    return [Retrieved(*each) for each in zip(hits, scores, priors, strict=True)]


def rerank(
    read: Sequence[Retrieved],
    rest: Sequence[Retrieved],
    evidence: Sequence[float],
    weight: float,
) -> list[Retrieved]:
    """By f(x, z) + a·evidence(x, z), best first; those that were not read follow as they were.

    :param evidence: of the passages read (`realm.model.answering.Answers`).
    :param weight: a.
    """
    added = [weight * each for each in evidence]
    scores = [one.score + more for one, more in zip(read, added, strict=True)]
    every = [*scores, *(one.score for one in rest)]
    priors = log_probabilities(np.array(every)).tolist()
    ranked = [
        Retrieved(one.hit, score, prior, more)
        for one, score, prior, more in zip(read, scores, priors, added, strict=False)
    ]
    ranked.sort(key=lambda one: -one.score)
    unread = zip(rest, priors[len(read) :], strict=True)
    return [*ranked, *(replace(one, log_probability=prior) for one, prior in unread)]


def _time_to_wait(seconds: float) -> float:
    """How long to wait, leaving time for the answer or for the error to reach the caller."""
    return max(0.0, seconds - min(0.5, 0.2 * seconds))


def _encode(serving: Serving, inputs: list[Encoded]) -> list[NDArray[np.float32]]:
    # In float32: questions are short, casting the weights would cost more than it saves.
    return list(encode(serving.encoder, inputs, serving.inputs.pad))


def _read(serving: Serving, readings: list[Reading]) -> list[Answers]:
    return answer_questions(serving.reader, serving.inputs, readings, dtype=serving.dtype)


def _cross_encode(serving: Serving, asked: list[Pairs]) -> list[list[float]]:
    """What each pair adds to f(x, z)."""
    if (cross := serving.cross_encoder) is None:
        return [[0.0] * len(pairs) for pairs in asked]
    scores = iter(cross.scores([pair for pairs in asked for pair in pairs], dtype=serving.dtype))
    return [[cross.config.weight * next(scores) for _ in pairs] for pairs in asked]

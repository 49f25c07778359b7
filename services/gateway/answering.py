"""From a question to passages and answers: encode → search → p(z|x) → read, on one generation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from realm.errors import DeadlinePassed, DependencyUnavailable, NotFound, NotReady, RealmError
from realm.model.answering import Answers, Reading, answer_questions
from realm.model.encoders import encode
from realm.model.inputs import Encoded
from realm.process.calls import annotate_call
from realm.retrieval import Retrieval
from realm.search.bm25 import question_weights
from realm.search.vector_index import Hit, Query, VectorSearch
from realm.settings import Settings
from services.gateway.admission import Admission
from services.gateway.batcher import Batcher
from services.gateway.compute import ComputeThread
from services.gateway.metrics import GatewayMetrics
from services.gateway.serving import Held, Serving, ServingSlot

log = structlog.get_logger(__name__)

NONE = Answers(())

#: How long a request whose collection has vanished waits for the reference to move on.
FLIP_PATIENCE_SECONDS = 5.0
#: How long a search is tried again while Qdrant does not serve, and how often.
SEARCH_PATIENCE_SECONDS = 30.0
SEARCH_PAUSE_SECONDS = 0.25
#: How long the search for a lost collection may take.
LOST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A passage with f(x, z) and p(z|x) among those found."""

    hit: Hit
    score: float
    log_probability: float


@dataclass(frozen=True, slots=True)
class Response:
    """Passages, what chose them and, if asked for, answers; all of `held`'s generation."""

    held: Held
    retrieval: Retrieval
    passages: list[Retrieved]
    answers: Answers


class Answering:
    """Answers many questions at once; an async context manager for its two batchers."""

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
        self._encode: Batcher[Serving, Encoded, NDArray[np.float32]] = Batcher(
            _encode,
            size=settings.gateway.serve_batch,
            wait=settings.gateway.batch_wait_seconds,
            capacity=self.admission.capacity,
            executor=self._executor,
            on_batch=metrics.batch.labels("encode").observe,
        )
        self._read: Batcher[Serving, Reading, Answers] = Batcher(
            _read,
            size=settings.gateway.read_batch,
            wait=settings.gateway.batch_wait_seconds,
            capacity=self.admission.capacity,
            executor=self._executor,
            on_batch=metrics.batch.labels("read").observe,
        )

    async def __aenter__(self) -> Answering:
        await self._stack.enter_async_context(self._encode)
        await self._stack.enter_async_context(self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def stalled_seconds(self) -> float:
        """For how long questions have waited for the models, and these finished nothing."""
        return self._executor.stalled_seconds

    async def look_for_lost(self) -> None:
        """Whether a collection that was gone is back: who is not ready is not asked, and would
        never learn it."""
        if (serving := self._slot.lost) is None:
            return
        nothing = np.zeros(serving.generation.vector_size, np.float32)
        query = Query(nothing, question_weights(""), Retrieval.DENSE)
        try:
            await self._search.search(serving.generation.collection, query, 1, LOST_SECONDS)
        except RealmError:
            return
        self._slot.note_found(serving)

    async def retrieve(
        self,
        question: str,
        *,
        limit: int,
        retrieval: Retrieval | None = None,
        at_least: int,
        seconds: float,
    ) -> Response:
        """The passages that most likely help, best first, within `seconds`.

        :param retrieval: what chooses them; None: what the settings say.
        :raises NotReady: if nothing is live, or `at_least` is not applied in time.
        :raises FailedPrecondition: if the live generation was built without BM25.
        """

        async def attempt(held: Held, left: float) -> Response:
            way = held.serving.retrieval(retrieval, self._retrieval)
            return Response(held, way, await self._retrieve(held, question, way, limit, left), NONE)

        return await self._answer(attempt, at_least, seconds)

    async def answer(
        self,
        question: str,
        *,
        passages: int,
        answers: int,
        retrieval: Retrieval | None = None,
        at_least: int,
        seconds: float,
    ) -> Response:
        """The best answers with their passages; errors as for `retrieve`."""

        async def attempt(held: Held, left: float) -> Response:
            way = held.serving.retrieval(retrieval, self._retrieval)
            found = await self._retrieve(held, question, way, passages, left)
            reading = Reading(
                question,
                tuple(each.hit.passage.text for each in found),
                tuple(each.log_probability for each in found),
                answers,
            )
            with self._metrics.stage("read"):
                read = await self._read.submit(held.serving, reading, weight=max(1, len(found)))
            return Response(held, way, found, read)

        return await self._answer(attempt, at_least, seconds)

    async def _answer(
        self,
        attempt: Callable[[Held, float], Awaitable[Response]],
        at_least: int,
        seconds: float,
    ) -> Response:
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                return await self._attempts(attempt, at_least, deadline)
        except TimeoutError as error:
            raise DeadlinePassed(
                f"no answer within the {seconds:.1f} s that the caller gave"
            ) from error

    async def _attempts(
        self,
        attempt: Callable[[Held, float], Awaitable[Response]],
        at_least: int,
        deadline: float,
    ) -> Response:
        """A second attempt, from the start, is for a request that slept past its collection."""
        loop = asyncio.get_running_loop()
        if at_least:
            await self._slot.wait_applied(at_least, _patience(deadline - loop.time()))
        with self._slot.hold() as held:
            annotate_call(generation=held.serving.number)
            try:
                return self._checked(await attempt(held, deadline - loop.time()), at_least)
            except NotFound as error:
                gone = held.serving
                log.warning("collection_vanished", generation=gone.number, error=error.message)
        patience = min(FLIP_PATIENCE_SECONDS, _patience(deadline - loop.time()))
        if not await self._slot.wait_flip(gone, patience):
            self._slot.note_lost(gone)
            raise NotReady(
                f"the collection of generation {gone.number} is gone and no other is live yet",
                generation=gone.number,
                waited=f"{patience:.2f}",
            )
        with self._slot.hold() as held:
            annotate_call(generation=held.serving.number)
            try:
                return self._checked(await attempt(held, deadline - loop.time()), at_least)
            except NotFound as error:
                self._slot.note_lost(held.serving)
                raise NotReady(
                    f"the collections of generations {gone.number} and {held.serving.number}"
                    " are gone; ask again"
                ) from error

    def _checked(self, response: Response, at_least: int) -> Response:
        """Claims no more than is known by now: the index may have been found damaged meanwhile.

        :raises NotReady: if it was, and the caller asked for a version.
        """
        number = response.held.serving.number
        standing = self._slot.standing(number)
        if standing is None or not standing.damaged:
            return response
        if at_least:
            raise NotReady(
                f"generation {number} has lost something and is made again; ask again in a moment",
                corpus_version=0,
            )
        return replace(response, held=replace(response.held, standing=standing))

    async def _retrieve(
        self, held: Held, question: str, way: Retrieval, limit: int, seconds: float
    ) -> list[Retrieved]:
        serving = held.serving
        with self._metrics.stage("encode"):
            vector = await self._encode.submit(serving, serving.inputs.query(question))
        with self._metrics.stage("search"):
            query = Query(vector, question_weights(question), way)
            hits = await self._searched(serving.generation.collection, query, limit, seconds)
        self._slot.note_found(serving)
        self._metrics.retrieved.observe(len(hits))
        return weigh(hits, serving.scale)

    async def _searched(
        self, collection: str, query: Query, limit: int, seconds: float
    ) -> list[Hit]:
        """Outlasts a restart of Qdrant, if the caller has the time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + seconds
        patient_until = began + min(SEARCH_PATIENCE_SECONDS, _patience(seconds))
        while True:
            try:
                return await self._search.search(collection, query, limit, deadline - loop.time())
            except DependencyUnavailable as error:
                if loop.time() + SEARCH_PAUSE_SECONDS >= patient_until:
                    # That it waited tells the client not to begin again.
                    waited = f"{loop.time() - began:.2f}"
                    raise DependencyUnavailable(error.message, waited=waited) from error
            await asyncio.sleep(SEARCH_PAUSE_SECONDS)


def weigh(hits: Sequence[Hit], scale: float) -> list[Retrieved]:
    """f(x, z) = s·⟨x, z⟩ and log p(z|x), the softmax over the passages found (REALM, eq. 1)."""
    scores = np.array([hit.score for hit in hits], np.float64) * scale
    if not len(scores):
        return []
    log_probabilities = scores - scores.max()
    log_probabilities -= np.log(np.exp(log_probabilities).sum())
    return [
        Retrieved(hit, float(score), float(log_probability))
        for hit, score, log_probability in zip(hits, scores, log_probabilities, strict=True)
    ]


def _patience(seconds: float) -> float:
    """Leaves time for the answer itself, or for the error to reach the caller."""
    return max(0.0, seconds - min(0.5, 0.2 * seconds))


def _encode(serving: Serving, inputs: list[Encoded]) -> list[NDArray[np.float32]]:
    # In float32: questions are short, casting the weights would cost more than it saves.
    return list(encode(serving.encoder, inputs, serving.inputs.pad))


def _read(serving: Serving, readings: list[Reading]) -> list[Answers]:
    return answer_questions(serving.reader, serving.inputs, readings, dtype=serving.dtype)

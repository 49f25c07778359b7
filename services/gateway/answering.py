"""From a question to passages and answers: encode → search → p(z|x) → read, on one generation."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

import numpy as np
import structlog

from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    NotFound,
    NotReady,
    RealmError,
)
from realm.model.answers import Answers, Reading
from realm.model.cross_encoder import pair_text
from realm.process.rpc import annotate_call
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector
from realm.search.vector_index import Found, Query, VectorSearch
from realm.settings import Settings
from services.gateway.admission.admission import Admission, Place
from services.gateway.admission.cost import Departures
from services.gateway.admission.limits import Limit
from services.gateway.answer_cache import AnswerCache, Epoch, size_of
from services.gateway.computing import Computing, Question, batch_tokens
from services.gateway.loading import NamedGenerations
from services.gateway.metrics import GatewayMetrics
from services.gateway.newest_version import NewestVersion
from services.gateway.ranking import Retrieved, rerank, score_passages
from services.gateway.requests import Request, Response
from services.gateway.serving import PinnedServing, Serving, ServingSlot

log = structlog.get_logger(__name__)

NO_ANSWERS = Answers(())

#: How long a request whose collection is gone waits for the next flip.
FLIP_WAIT_SECONDS = 5.0
#: How long, and how often, a search is retried while Qdrant does not serve.
SEARCH_RETRY_SECONDS = 30.0
SEARCH_PAUSE_SECONDS = 0.25
#: After so long without a look at the store nothing is answered from what was answered before.
STORE_UNSEEN_SECONDS = 5.0
#: How long the probe of a lost collection may take.
PROBE_SECONDS = 1.0
#: What it asks for where there are no vectors.
ANY_WORD = SparseVector([0], [1.0])


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: `version` is what the collection is known to hold (None: it cannot prove it),
    `at_least` what the copy that is searched must prove."""

    collection: str
    query: Query
    limit: int
    version: int | None
    at_least: int


class Answering:
    """Answers many questions at once; an async context manager for the threads that compute."""

    def __init__(
        self,
        settings: Settings,
        slot: ServingSlot,
        named: NamedGenerations,
        search: VectorSearch,
        metrics: GatewayMetrics,
        newest: NewestVersion,
    ) -> None:
        self._slot = slot
        self._named = named
        self._search = search
        self._metrics = metrics
        self._newest = newest
        self._retrieval = settings.gateway.retrieval
        self._admission = Admission(settings.gateway, batch_tokens(settings), metrics)
        self._computing = Computing(settings, self._admission.lanes, metrics)
        self._departures = Departures(self._admission.lanes["search"].cost)
        self._waiting = Limit("questions for a version to come", settings.gateway.max_waiting)
        metrics.waiting.set_function(lambda: self._waiting.taken_now)
        self._cache: AnswerCache[tuple[Retrieval, list[Retrieved], Answers]] = AnswerCache(
            settings.gateway.answer_cache_bytes, metrics.cache_bytes.set
        )

    async def __aenter__(self) -> Answering:
        await self._computing.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._computing.__aexit__()

    @property
    def stalled_seconds(self) -> float:
        """For how long questions have waited for the models without any being finished."""
        return self._computing.stalled_seconds

    async def recheck_lost_collection(self) -> None:
        """Probes a collection that was gone: an unready gateway gets no questions to notice by."""
        if (serving := self._slot.lost) is None:
            return
        nothing = np.zeros(serving.generation.vector_size, np.float32)
        query = Query(nothing)
        if serving.generation.words_alone:
            query = Query(nothing, ANY_WORD, Retrieval.BM25)
        try:
            await self._search.search(serving.generation.collection, query, 1, PROBE_SECONDS)
        except RealmError:
            return
        self._slot.mark_found(serving)

    async def respond(self, request: Request, seconds: float) -> Response:
        """The passages that most likely help, best first, and the best answers in them.

        :raises NotReady: if nothing is live, or `at_least` is not applied in time.
        :raises NotFound: if the generation named is neither live nor retained.
        :raises FailedPrecondition: if the generation was built without BM25.
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
        """Whoever waits for a version is taken on once it is there: in turn, since all who wait for
        it come at once, and have the time."""
        loop = asyncio.get_running_loop()
        waited = await self._await_generation(request.generation)
        waited |= await self._await_version(request, deadline - loop.time())
        if (known := self._known(request)) is not None:
            return known
        work = self._computing.work_of(request.question, request.read)
        async with self._admission.place(
            request.caller, work, deadline - loop.time(), patient=request.patient or waited
        ) as place:
            return await self._respond_in(place, request, deadline)

    async def _await_generation(self, number: int) -> bool:
        """Whether it had to wait until the generation was loaded.

        :raises NotFound: if it can be asked no longer.
        """
        if self._slot.holds(number):
            return False
        with self._waiting.taken():
            await self._named.await_loaded(number)
        return True

    async def _await_version(self, request: Request, seconds: float) -> bool:
        """Whether it had to wait. :raises FailedPrecondition: if nobody ever wrote the version."""
        version, generation = request.at_least, request.generation
        if self._slot.applied(generation) >= version:
            return False
        with self._waiting.taken():
            await self._newest.check(version)
            await self._slot.wait_applied(version, _time_to_wait(seconds), generation)
        return True

    async def _respond_in(self, place: Place, request: Request, deadline: float) -> Response:
        """Begins again once, if the collection is gone since the request began."""
        loop = asyncio.get_running_loop()
        for _ in range(2):
            # A flip may have come since.
            await self._await_generation(request.generation)
            await self._await_version(request, deadline - loop.time())
            with self._slot.pin(request.generation) as pinned:
                gone = pinned.serving
                annotate_call(generation=gone.number)
                try:
                    response = await self._attempt(pinned, place, request, deadline - loop.time())
                    self._keep(request, response)
                    return self._checked(response, request.at_least)
                except NotFound as error:
                    log.warning("collection_gone", generation=gone.number, error=error.message)
            if request.generation:
                self._slot.drop_other()
            wait_seconds = min(FLIP_WAIT_SECONDS, _time_to_wait(deadline - loop.time()))
            if not await self._slot.wait_flip(gone, wait_seconds):
                break
        self._slot.mark_lost(gone)
        raise NotReady(
            f"the collection of generation {gone.number} is gone; ask again in a moment",
            generation=gone.number,
            waited=f"{wait_seconds:.2f}",
        )

    def _known(self, request: Request) -> Response | None:
        """The answer to the same request of the same index, if there was one."""
        current = self._slot.current
        if not self._cache.enabled or request.no_cache or current is None:
            return None
        # Answers are kept of what is live alone: asking for another's would forget them all.
        if request.generation not in (0, current.number):
            return None
        with self._slot.pin() as pinned:
            freshness = pinned.freshness
            # While the store is away, the index may have moved on unseen.
            unseen = time.monotonic() - freshness.seen_at
            if freshness.damaged or unseen > STORE_UNSEEN_SECONDS:
                return None
            found = self._cache.find(_epoch(pinned), request.key)
            self._metrics.count_cached(found is not None)
            if found is None:
                return None
            annotate_call(generation=pinned.serving.number, cached=True)
            return Response(pinned, *found, cached=True)

    def _keep(self, request: Request, response: Response) -> None:
        if self._cache.enabled and not response.pinned.freshness.damaged:
            key = request.key
            size = size_of(key, (each.hit.passage for each in response.passages))
            # Without the models: what is kept must not keep them.
            kept = response.retrieval, response.passages, response.answers
            self._cache.keep(_epoch(response.pinned), key, kept, size)

    async def _attempt(
        self, pinned: PinnedServing, place: Place, request: Request, seconds: float
    ) -> Response:
        serving = pinned.serving
        retrieval = serving.retrieval(request.retrieval, self._retrieval)
        serving.check_filter(request.filter)
        question = await self._computing.question(serving, request.question)
        vector = await self._computing.encode(serving, question, place)
        query = replace(
            serving.queries.weighed(question.terms, vector, retrieval), filter=request.filter
        )
        most = max(request.passages, request.rerank)
        found, pinned = await self._find(pinned, query, most, place, request.at_least, seconds)
        read = NO_ANSWERS
        if request.rerank and serving.cross_encoder is not None:
            found = await self._cross_encode(serving, question, found, place, request)
        elif request.read:
            found, read = await self._read_passages(serving, question, found, place, request)
        # In single precision, as a response shows scores: one that was shown is enough.
        least = np.float32(request.least_score)
        found = [each for each in found if np.float32(each.score) >= least]
        return Response(pinned, retrieval, found, read)

    async def _find(
        self,
        pinned: PinnedServing,
        query: Query,
        most: int,
        place: Place,
        at_least: int,
        seconds: float,
    ) -> tuple[list[Retrieved], PinnedServing]:
        """What is found, with no more claimed of it than the copy that was searched proves."""
        serving, freshness = pinned.serving, pinned.freshness
        version = freshness.corpus_version if serving.generation.marked else None
        asked = Asked(serving.generation.collection, query, most, version, at_least)
        with self._metrics.stage("search"):
            found = await self._search_with_retries(asked, seconds)
        place.expect("search", 0)
        self._slot.mark_found(serving)
        self._metrics.retrieved.observe(len(found.hits))
        if found.version is not None and found.version < freshness.corpus_version:
            proved = replace(freshness, corpus_version=found.version)
            pinned = replace(pinned, freshness=proved)
        return score_passages(found.hits, query), pinned

    async def _read_passages(
        self,
        serving: Serving,
        question: Question,
        found: list[Retrieved],
        place: Place,
        request: Request,
    ) -> tuple[list[Retrieved], Answers]:
        """What is found in the passages, and the passages ranked by it if that was asked for."""
        rest = found[request.rerank :] if request.rerank else []
        found = found[: len(found) - len(rest)]
        reading = Reading(
            question.text,
            tuple(each.hit.passage.text for each in found),
            tuple(each.log_probability for each in found),
            max(1, request.answers),
            tuple(each.hit.passage.answer for each in found),
        )
        read = await self._computing.read(serving, reading, place)
        if request.rerank:
            found = rerank(found, rest, read.added)[: request.passages]
        return found, read

    async def _cross_encode(
        self,
        serving: Serving,
        question: Question,
        found: list[Retrieved],
        place: Place,
        request: Request,
    ) -> list[Retrieved]:
        """The passages ranked by the snapshot's cross-encoder too, which reads no answer."""
        best, rest = found[: request.rerank], found[request.rerank :]
        texts = [pair_text(each.hit.passage.title, each.hit.passage.text) for each in best]
        pairs = [(question.text, text) for text in texts]
        scored = await self._computing.cross_encode(serving, pairs, place)
        return rerank(best, rest, scored)[: request.passages]

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

    async def _search_with_retries(self, asked: Asked, seconds: float) -> Found:
        """Retries while Qdrant restarts, or while no copy proves what is asked for, if the caller
        has the time.

        :raises NotReady: if no copy does in time.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        give_up_at = began + min(SEARCH_RETRY_SECONDS, _time_to_wait(seconds))
        while True:
            try:
                found = await self._search_once(asked, began + seconds - loop.time())
                if found.version is None or found.version >= asked.at_least:
                    return found
                error: DependencyUnavailable | NotReady = NotReady(
                    f"no copy of the index that answers holds version {asked.at_least} yet, the"
                    f" newest holds version {found.version}; ask again in a moment",
                    corpus_version=found.version,
                )
            except DependencyUnavailable as failure:
                error = failure
            if loop.time() + SEARCH_PAUSE_SECONDS >= give_up_at:
                # `waited` tells the client not to retry.
                error.details["waited"] = f"{loop.time() - began:.2f}"
                raise error
            await asyncio.sleep(SEARCH_PAUSE_SECONDS)

    async def _search_once(self, asked: Asked, seconds: float) -> Found:
        done = False
        self._departures.begin(time.monotonic())
        try:
            found = await self._search.search(
                asked.collection, asked.query, asked.limit, seconds, asked.version
            )
            done = True
        finally:
            self._departures.end(time.monotonic(), done=done)
        return found


def _epoch(pinned: PinnedServing) -> Epoch:
    return Epoch(pinned.serving.number, pinned.freshness.corpus_version)


def _time_to_wait(seconds: float) -> float:
    """How long to wait, leaving time for the answer or for the error to reach the caller."""
    return max(0.0, seconds - min(0.5, 0.2 * seconds))

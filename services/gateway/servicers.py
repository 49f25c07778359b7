"""RetrievalService and AnswerService: requests checked before any work, and into calls; results
into messages."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from realm.corpus.documents import Document, check_upsert, normalise_id
from realm.corpus.plain_text import without_mark
from realm.errors import InvalidInput, RealmError
from realm.model.answers import FoundAnswer
from realm.process.rpc import remaining
from realm.retrieval import Retrieval
from realm.search.vector_index import IndexedPassage
from realm.v1 import (
    answer_pb2,
    answer_pb2_grpc,
    corpus_pb2,
    retrieval_pb2,
    retrieval_pb2_grpc,
    types_pb2,
)
from services.gateway.answering import Answering
from services.gateway.bulk import QuestionStreams, caller_of, failure_of, outcome
from services.gateway.masks import Mask
from services.gateway.ranking import Retrieved
from services.gateway.reporting import QuestionRecorder, SearchSampler
from services.gateway.requests import Request, Response
from services.gateway.scope import reachable
from services.gateway.serving import PinnedServing, Serving

MAX_QUESTION_CHARACTERS = 10_000
MAX_PASSAGES_FOUND = 100
MAX_PASSAGES_READ = 20
MAX_ANSWERS = 10
MAX_GENERATIONS = 1_000
MAX_LISTED = 1_000

_RETRIEVALS = {
    types_pb2.RETRIEVAL_UNSPECIFIED: None,
    types_pb2.RETRIEVAL_DENSE: Retrieval.DENSE,
    types_pb2.RETRIEVAL_BM25: Retrieval.BM25,
    types_pb2.RETRIEVAL_HYBRID: Retrieval.HYBRID,
    types_pb2.RETRIEVAL_RANK_FUSION: Retrieval.RANK_FUSION,
}
DEFAULT_PASSAGES = 5
DEFAULT_ANSWERS = 1


def check_question(question: str) -> str:
    if not question.strip():
        raise InvalidInput("the question is empty: give at least one word", field="question")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInput(
            f"the question has {len(question)} characters, the limit is"
            f" {MAX_QUESTION_CHARACTERS}: ask in fewer words",
            field="question",
        )
    return question


def check_count(field: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidInput(f"{field} is {value}: give 1 to {most}", field=field)
    return value


def check_retrieval(way: types_pb2.Retrieval) -> Retrieval | None:
    """None where the request leaves it to the gateway."""
    if way not in _RETRIEVALS:
        raise InvalidInput(
            f"retrieval is {way}: give {', '.join(types_pb2.Retrieval.keys())}", field="retrieval"
        )
    return _RETRIEVALS[way]


def normalise_upsert(request: corpus_pb2.UpsertDocumentsRequest, max_bytes: int) -> None:
    """Normalises ids, removes byte order marks from texts, and checks the whole write.

    :param max_bytes: the longest text of a document.
    """
    for document in request.documents:
        document.id = normalise_id(document.id)
        document.text = without_mark(document.text)
    documents = [
        Document(each.id, each.title, each.text, dict(each.metadata), each.answer)
        for each in request.documents
    ]
    check_upsert(request.request_id, documents, max_bytes=max_bytes)


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServiceServicer):
    def __init__(
        self, answering: Answering, streams: QuestionStreams, searches: SearchSampler
    ) -> None:
        self._answering = answering
        self._streams = streams
        self._searches = searches

    async def RetrievePassages(  # noqa: N802
        self, request: retrieval_pb2.RetrievePassagesRequest, context: Any
    ) -> retrieval_pb2.RetrievePassagesResponse:
        return await self._search(request, remaining(context), caller_of(context))

    async def BatchRetrievePassages(  # noqa: N802
        self, requests: AsyncIterator[retrieval_pb2.BatchRetrievePassagesRequest], context: Any
    ) -> None:
        await self._streams.run(requests, context, self._search_one)

    async def _search_one(
        self, request: retrieval_pb2.BatchRetrievePassagesRequest, seconds: float, caller: str
    ) -> retrieval_pb2.BatchRetrievePassagesResponse:
        response = retrieval_pb2.BatchRetrievePassagesResponse(question_id=request.question_id)
        search = self._search(request.question, seconds, caller, patient=True)
        found = await outcome(search, "BatchRetrievePassages")
        if isinstance(found, RealmError):
            response.failure.CopyFrom(failure_of(found))
        else:
            response.found.CopyFrom(found)
        return response

    async def _search(
        self,
        request: retrieval_pb2.RetrievePassagesRequest,
        seconds: float,
        caller: str,
        *,
        patient: bool = False,
    ) -> retrieval_pb2.RetrievePassagesResponse:
        limit = request.limit if request.HasField("limit") else DEFAULT_PASSAGES
        mask = Mask(request.read_mask, retrieval_pb2.RetrievePassagesResponse)
        asked = Request(
            check_question(request.question),
            passages=check_count("limit", limit, MAX_PASSAGES_FOUND),
            retrieval=check_retrieval(request.retrieval),
            at_least=request.at_least_version,
            rerank=check_count("rerank", request.rerank, MAX_PASSAGES_READ)
            if request.HasField("rerank")
            else 0,
            least_score=request.least_score if request.HasField("least_score") else -math.inf,
            filter=reachable(request),
            no_cache=request.no_cache,
            generation=request.generation,
            caller=caller,
            patient=patient,
        )
        response = await self._answering.respond(asked, seconds)
        self._searches.add(asked, response)
        found = retrieval_pb2.RetrievePassagesResponse(
            passages=[_retrieved(each, response.pinned.serving) for each in response.passages],
            index_version=index_version(response.pinned),
            retrieval=_retrieval(response.retrieval),
            no_answer_probability=response.answers.no_answer,
            cached=response.cached,
        )
        masked: retrieval_pb2.RetrievePassagesResponse = mask.apply(found)
        return masked


class AnswerServicer(answer_pb2_grpc.AnswerServiceServicer):
    def __init__(
        self,
        answering: Answering,
        streams: QuestionStreams,
        recorder: QuestionRecorder,
        searches: SearchSampler,
    ) -> None:
        self._answering = answering
        self._streams = streams
        self._recorder = recorder
        self._searches = searches

    async def AnswerQuestion(  # noqa: N802
        self, request: answer_pb2.AnswerQuestionRequest, context: Any
    ) -> answer_pb2.AnswerQuestionResponse:
        return await self._answer(request, remaining(context), caller_of(context))

    async def AnswerQuestions(  # noqa: N802
        self, requests: AsyncIterator[answer_pb2.AnswerQuestionsRequest], context: Any
    ) -> None:
        await self._streams.run(requests, context, self._answer_one)

    async def _answer_one(
        self, request: answer_pb2.AnswerQuestionsRequest, seconds: float, caller: str
    ) -> answer_pb2.AnswerQuestionsResponse:
        response = answer_pb2.AnswerQuestionsResponse(question_id=request.question_id)
        answer = self._answer(request.question, seconds, caller, patient=True)
        found = await outcome(answer, "AnswerQuestions")
        if isinstance(found, RealmError):
            response.error = found.message
            response.failure.CopyFrom(failure_of(found))
        else:
            response.answer.CopyFrom(found)
        return response

    async def _answer(
        self,
        request: answer_pb2.AnswerQuestionRequest,
        seconds: float,
        caller: str,
        *,
        patient: bool = False,
    ) -> answer_pb2.AnswerQuestionResponse:
        passages = request.passages if request.HasField("passages") else DEFAULT_PASSAGES
        answers = request.answers if request.HasField("answers") else DEFAULT_ANSWERS
        mask = Mask(request.read_mask, answer_pb2.AnswerQuestionResponse)
        asked = Request(
            check_question(request.question),
            passages=check_count("passages", passages, MAX_PASSAGES_READ),
            answers=check_count("answers", answers, MAX_ANSWERS),
            retrieval=check_retrieval(request.retrieval),
            at_least=request.at_least_version,
            filter=reachable(request),
            no_cache=request.no_cache,
            generation=request.generation,
            caller=caller,
            patient=patient,
        )
        response = await self._answering.respond(asked, seconds)
        self._searches.add(asked, response)
        self._recorder.record(request.question, response)
        answered = answer_pb2.AnswerQuestionResponse(
            answers=[_answer(each, response) for each in response.answers.given],
            no_answer_probability=response.answers.no_answer,
            index_version=index_version(response.pinned),
            retrieval=_retrieval(response.retrieval),
            cached=response.cached,
        )
        masked: answer_pb2.AnswerQuestionResponse = mask.apply(answered)
        return masked


def index_version(pinned: PinnedServing) -> types_pb2.IndexVersion:
    """An answer's origin: the version that it comes from."""
    generation, freshness = pinned.serving.generation, pinned.freshness
    version = types_pb2.IndexVersion(
        generation=generation.number,
        snapshot=generation.snapshot,
        step=generation.step,
        corpus_version=freshness.searchable,
        damaged=freshness.damaged,
        lag_steps=freshness.lag.steps,
        live_since=timestamp(pinned.serving.entry.at),
        words_alone=generation.words_alone,
    )
    version.since_store_seen.FromNanoseconds(_nanoseconds(time.monotonic() - freshness.seen_at))
    version.lag.FromNanoseconds(_nanoseconds(freshness.lag.seconds(time.time())))
    return version


def timestamp(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(_nanoseconds(seconds))
    return found


def _nanoseconds(seconds: float) -> int:
    return max(0, int(seconds * 1e9))


def _passage(passage: IndexedPassage) -> types_pb2.Passage:
    return types_pb2.Passage(
        passage_id=passage.passage_id,
        document_id=passage.document_id,
        document_version=passage.document_version,
        ordinal=passage.ordinal,
        title=passage.title,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        metadata=passage.metadata,
        answer=passage.answer,
    )


def _retrieved(found: Retrieved, by: Serving) -> retrieval_pb2.RetrievedPassage:
    return retrieval_pb2.RetrievedPassage(
        passage=_passage(found.hit.passage),
        score=found.score,
        probability=math.exp(found.log_probability),
        parts=_parts(found, by),
    )


def _parts(found: Retrieved, by: Serving) -> types_pb2.ScoreParts:
    """What the score is the sum of: s·⟨Embed(x), Embed(z)⟩, w·BM25(x, z), and the re-ranker's."""
    dense = by.queries.relevance.scale * found.hit.product
    words = found.score - found.reading - dense
    return types_pb2.ScoreParts(dense=dense, words=words, reading=found.reading)


def _retrieval(way: Retrieval) -> str:
    return f"RETRIEVAL_{way.name}"


def _answer(answer: FoundAnswer, response: Response) -> answer_pb2.Answer:
    sources = []
    for support in answer.supports:
        found = response.passages[support.passage]
        passage = found.hit.passage
        sources.append(
            answer_pb2.Source(
                passage=_passage(passage),
                retrieval_probability=support.prior,
                reading_probability=support.likelihood,
                # In the document: the passage begins somewhere in it.
                start=passage.start + support.start,
                end=passage.start + support.end,
                score=found.score,
                parts=_parts(found, response.pinned.serving),
            )
        )
    return answer_pb2.Answer(
        text=answer.text,
        probability=answer.probability,
        sources=sources,
        stored=answer.stored,
    )

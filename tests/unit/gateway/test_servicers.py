"""Questions through a real channel: translation, origin, bad input, streams."""

from __future__ import annotations

import asyncio
import copy
import math
import random
import time
from typing import Any

import grpc
import pytest
import torch
from google.rpc import status_pb2

from realm.client.wire import STATUS_KEY, from_rpc_error, retry_seconds
from realm.errors import InvalidInput, NotReady, Overloaded
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import Model
from realm.model.config import AnswerRules
from realm.objectives.reading import ReaderLoss, ReadingExample
from realm.records.generation import Generation
from realm.v1 import answer_pb2, retrieval_pb2
from services.gateway.admission import admission
from services.gateway.admission.admission import SEARCH_SECONDS, TOKEN_SECONDS
from services.gateway.admission.lanes import LEAST_PAUSE
from tests.unit.gateway.site import PATIENCE, TEXTS, Site, World, failure, running, until

QUESTION = "who built the tower"


def search(question: str = QUESTION, **fields: Any) -> retrieval_pb2.RetrievePassagesRequest:
    return retrieval_pb2.RetrievePassagesRequest(question=question, **fields)


def ask(question: str = QUESTION, **fields: Any) -> answer_pb2.AnswerQuestionRequest:
    return answer_pb2.AnswerQuestionRequest(question=question, **fields)


async def test_passages_come_with_their_origin(site: Site, first: Generation) -> None:
    response = await site.retrieval.RetrievePassages(search(limit=3), timeout=PATIENCE)
    assert len(response.passages) == 3
    for each in response.passages:
        assert each.passage.metadata["prefix"] == "g1"
        assert (each.passage.ordinal, each.passage.document_version) == (1, 3)
    version = response.index_version
    assert (version.generation, version.snapshot, version.step) == (1, 1, 10)
    assert (version.corpus_version, version.lag_steps, version.lag.seconds) == (1, 0, 0)
    assert 0 <= time.time() - version.live_since.ToNanoseconds() / 1e9 < 600


async def test_answer_points_into_the_document(site: Site, first: Generation) -> None:
    response = await site.answers.AnswerQuestion(ask(passages=4, answers=3), timeout=PATIENCE)
    assert len(response.answers) == 3
    for answer in response.answers:
        for source in answer.sources:
            start, end = source.start - source.passage.start, source.end - source.passage.start
            assert source.passage.start == 100
            assert 0 <= start < end <= len(source.passage.text)
        best = answer.sources[0]
        text = best.passage.text[best.start - 100 : best.end - 100]
        assert text == answer.text
    assert response.index_version.generation == first.number


async def compare_with_the_model(site: Site, model: Model, question: str) -> bool:
    """Asks; the answers must be what the model itself reads in the same passages. Whether it
    abstains."""
    serving = site.gateway.slot.current
    assert serving is not None
    found = await site.retrieval.RetrievePassages(search(question, limit=5), timeout=PATIENCE)
    response = await site.answers.AnswerQuestion(ask(question, answers=10), timeout=PATIENCE)
    reading = Reading(
        question,
        tuple(each.passage.text for each in found.passages),
        tuple(math.log(each.probability) for each in found.passages),
        answers=10,
    )
    reader = copy.deepcopy(model.reader).eval()
    reader.freeze(serving.dtype)
    (expected,) = answer_questions(reader, model.inputs, [reading], dtype=serving.dtype)
    assert response.no_answer_probability == pytest.approx(expected.no_answer, abs=1e-3)
    assert [each.text for each in response.answers] == [each.text for each in expected.given]
    for left, right in zip(response.answers, expected.given, strict=True):
        assert left.probability == pytest.approx(right.probability, abs=1e-3)
    return bool(expected.abstains)


def learn_when_to_abstain(model: Model) -> None:
    """The reader learns that one question has an answer in the passages, another none."""
    objective = ReaderLoss(model.inputs, max_span_width=5, reader_tokens=96, null=True)
    scores = (0.0,) * len(TEXTS)
    examples = [
        ReadingExample("who built it", ("Gustave",), TEXTS, scores),
        ReadingExample("river", (), TEXTS, scores),
    ]
    batch = objective.batch(examples, random.Random(0))
    optimizer = torch.optim.AdamW(model.reader.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        objective.loss(batch, model.reader.eval()).value.backward()
        optimizer.step()
    model.reader.answers = AnswerRules(null=True, slope=0.8, offset=-0.1)


async def test_answers_are_the_model_s_own_and_none_where_the_null_document_wins(
    site: Site, first: Generation
) -> None:
    serving = site.gateway.slot.current
    assert serving is not None
    model = site.world.models[first.snapshot]
    assert not await compare_with_the_model(site, model, QUESTION)
    learn_when_to_abstain(model)
    reader = copy.deepcopy(model.reader).eval()
    reader.freeze(serving.dtype)
    object.__setattr__(serving, "reader", reader)
    questions = ("who built it", "river", "eiffel")
    assert {await compare_with_the_model(site, model, each) for each in questions} == {True, False}


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("question", search("")),
        ("question", search(" \n\t ")),
        ("question", search("\u200b\u00ad")),  # nothing is left after normalisation
        ("question", search("x" * 10_001)),
        ("limit", search(limit=0)),
        ("limit", search(limit=101)),
        ("rerank", search(rerank=0)),
        ("rerank", search(rerank=21)),
        ("question", ask("?" * 10_001)),
        ("passages", ask(passages=0)),
        ("passages", ask(passages=21)),
        ("answers", ask(answers=0)),
        ("answers", ask(answers=11)),
    ],
)
async def test_an_unusable_question_names_its_field(site: Site, field: str, request_: Any) -> None:
    searches = isinstance(request_, retrieval_pb2.RetrievePassagesRequest)
    method = site.retrieval.RetrievePassages if searches else site.answers.AnswerQuestion
    error = await failure(method(request_, timeout=PATIENCE))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == field


async def test_longest_question_and_limit_are_answered(site: Site) -> None:
    response = await site.retrieval.RetrievePassages(
        search("tower " * 1666, limit=100), timeout=PATIENCE
    )
    assert len(response.passages) == len(TEXTS)


async def test_stream_answers_every_question_and_survives_bad_ones(site: Site) -> None:
    requests = [
        answer_pb2.AnswerQuestionsRequest(question_id=str(number), question=ask())
        for number in range(100)
    ]
    requests[7].question.question = " "
    call = site.answers.AnswerQuestions(iter(requests), timeout=PATIENCE)
    outcomes = {each.question_id: each async for each in call}
    assert set(outcomes) == {str(number) for number in range(100)}
    bad = outcomes.pop("7")
    assert bad.error.startswith("the question is empty")
    assert bad.failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert bad.failure.message == bad.error
    assert bad.failure.details
    for each in outcomes.values():
        assert each.answer.answers
        assert not each.HasField("failure")
    # They were read together, not one by one.
    batches = site.value("realm_gateway_batch_items_count", stage="encode")
    assert batches is not None
    assert batches < 99


async def test_nothing_live_is_not_ready(world: World) -> None:
    async with running(world) as site:
        error = await failure(site.retrieval.RetrievePassages(search(), timeout=PATIENCE))
        assert isinstance(error, NotReady)
        assert "no generation is live" in error.message


async def test_more_work_than_may_queue_is_refused_and_the_rest_done(
    world: World, first: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "SEARCHES", 1)
    async with running(world, search_queue_seconds=1.5 * SEARCH_SECONDS) as site:
        await site.serves(first)
        world.search.gate = asyncio.Event()
        calls = []
        for number in (1, 2):
            calls.append(site.retrieval.RetrievePassages(search(), timeout=PATIENCE))
            await until(lambda waiting=number: world.search.waiting == waiting)  # type: ignore[misc]
        assert site.value("realm_gateway_inflight_requests") == 2
        queued = site.value("realm_gateway_queue_seconds", stage="search")
        assert queued == pytest.approx(2 * SEARCH_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await site.retrieval.RetrievePassages(search(), timeout=PATIENCE)
        assert isinstance(from_rpc_error(caught.value), Overloaded)
        assert retry_after(caught.value) == pytest.approx(LEAST_PAUSE)
        assert site.value("realm_gateway_refused_total") == 1
        world.search.gate.set()
        for call in calls:
            assert (await call).passages
        assert (await site.retrieval.RetrievePassages(search(), timeout=PATIENCE)).passages
        assert site.value("realm_gateway_inflight_requests") == 0
        for stage in ("encode", "search", "read"):
            assert site.value("realm_gateway_queue_seconds", stage=stage) == 0


def retry_after(error: grpc.aio.AioRpcError) -> float:
    """Seconds that the status advises to wait."""
    trailers: Any = error.trailing_metadata()
    return retry_seconds(status_pb2.Status.FromString(dict(trailers)[STATUS_KEY]))


async def test_reading_that_cannot_be_in_time_is_refused_and_searches_go_on(
    site: Site, first: Generation
) -> None:
    """Nothing is encoded or searched for a question that nobody would read in time."""
    answering = site.gateway._answering
    reading = answering._admission.lanes["read"]
    reading.ledger.add("others", 1.0 / TOKEN_SECONDS)
    searches = site.world.search.calls
    error = await failure(site.answers.AnswerQuestion(ask(passages=20), timeout=0.5))
    assert isinstance(error, Overloaded)
    assert site.world.search.calls == searches
    assert (await site.retrieval.RetrievePassages(search(), timeout=PATIENCE)).passages
    reading.ledger.add("others", -1.0 / TOKEN_SECONDS)
    assert (await site.answers.AnswerQuestion(ask(), timeout=PATIENCE)).answers


async def test_the_question_is_read_as_far_as_it_is_encoded(site: Site, first: Generation) -> None:
    """By vectors and by words alike: what is beyond a query's length has no say."""
    serving = site.gateway.slot.current
    assert serving is not None
    room = serving.inputs.limits.query - 2
    within = " ".join(["tower"] * room)
    beyond = await site.retrieval.RetrievePassages(
        search(f"{within} paris france"), timeout=PATIENCE
    )
    alone = await site.retrieval.RetrievePassages(search(within), timeout=PATIENCE)
    assert list(beyond.passages) == list(alone.passages)


async def test_passed_deadline_frees_its_place(site: Site) -> None:
    site.world.search.gate = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.retrieval.RetrievePassages(search(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: site.value("realm_gateway_inflight_requests") == 0)
    assert site.gateway.slot.pinned_generations == {1}


async def test_stages_and_calls_are_measured(site: Site) -> None:
    await site.answers.AnswerQuestion(ask(), timeout=PATIENCE)
    for stage in ("encode", "search", "read"):
        assert site.value("realm_gateway_stage_duration_seconds_count", stage=stage) == 1
    assert site.value("realm_gateway_serving_step") == 10
    assert site.value("realm_gateway_retrieved_passages_sum") == 5
    labels = {
        "grpc_type": "unary",
        "grpc_service": "realm.v1.AnswerService",
        "grpc_method": "AnswerQuestion",
        "grpc_code": "OK",
    }
    assert site.value("grpc_server_handled_total", **labels) == 1

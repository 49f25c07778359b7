"""What a gateway reports to the leading indexer: what it serves and, if switched on, questions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from realm.filters import where
from realm.internal.v1 import serving_pb2
from realm.records.generation import Generation
from realm.v1 import answer_pb2, retrieval_pb2
from services.gateway.reporting import QUESTIONS_A_REPORT
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import Site, World, running, until
from tests.unit.gateway.test_forwarding import lead

QUESTION = "Who built the tower?"
#: A loaded machine reads twenty questions in it: by its own estimate, or some are refused.
SECONDS = 60.0
RECORDING: dict[str, Any] = {"record_questions": True, "record_probability": 0.0}


async def test_reports_follow_flips_and_survive_the_indexers_absence(world: World) -> None:
    async with running_indexer() as (_, address):
        pass  # nobody is there for now
    async with running(world, indexer_url=address) as site:
        first = world.go_live(seed=1, step=10)
        await site.serves(first)
        async with running_indexer(int(address.rsplit(":", 1)[1])) as (indexer, _):
            await until(lambda: bool(indexer.reports), "a report")
            assert indexer.reports[-1].generation == first.number
            assert indexer.reports[-1].ready
            second = world.go_live(seed=2, step=20)
            await until(lambda: indexer.reports[-1].generation == second.number, "the flip's")
            await asyncio.sleep(0)
            await site.gateway.stop()
            assert not indexer.reports[-1].ready


async def test_reports_go_to_the_leader(world: World, indexer: tuple[MemoryIndexer, str]) -> None:
    async with running(world):
        lead(world, 1, indexer[1])
        await until(lambda: bool(indexer[0].reports), "a report")


async def ask(site: Site, question: str = QUESTION) -> answer_pb2.AnswerQuestionResponse:
    request = answer_pb2.AnswerQuestionRequest(question=question)
    response: answer_pb2.AnswerQuestionResponse
    response = await site.answers.AnswerQuestion(request, timeout=SECONDS)
    return response


def recorded(indexer: MemoryIndexer) -> list[serving_pb2.RecordedQuestion]:
    return [each for report in indexer.reports for each in report.questions]


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        pytest.param({}, 0, id="off by default"),
        pytest.param(RECORDING, 1, id="on"),
        pytest.param({**RECORDING, "record_probability": 1.0}, 0, id="too unlikely"),
    ],
)
async def test_an_answered_question_is_reported_once_if_switched_on(
    world: World,
    first: Generation,
    indexer: tuple[MemoryIndexer, str],
    settings: dict[str, Any],
    number: int,
) -> None:
    memory, address = indexer
    async with running(world, indexer_url=address, **settings) as site:
        await site.serves(first)
        response = await ask(site)
        assert response.answers[0].probability < 1.0
        request = retrieval_pb2.RetrievePassagesRequest(question="only passages")
        await site.retrieval.RetrievePassages(request, timeout=10)
        before = len(memory.reports)
        await until(lambda: len(memory.reports) >= before + 2, "two reports")
        document_id = response.answers[0].sources[0].passage.document_id
        found = [
            (each.question, each.document_id, each.snapshot, each.answer)
            for each in recorded(memory)
        ]
        given = response.answers[0].text
        assert found == [(QUESTION, document_id, first.snapshot, given)] * number


@pytest.mark.parametrize("on", [False, True])
async def test_searches_are_reported_as_they_were_made_if_asked_for(
    world: World, first: Generation, indexer: tuple[MemoryIndexer, str], on: bool
) -> None:
    memory, address = indexer
    asked: dict[str, Any] = {"gate_shadow": 10} if on else {}
    async with running(world, indexer_url=address, **asked) as site:
        await site.serves(first)
        request = retrieval_pb2.RetrievePassagesRequest(
            question=QUESTION, retrieval="RETRIEVAL_BM25", filter=where("tenant=acme")
        )
        await site.retrieval.RetrievePassages(request, timeout=10)
        await ask(site)
        before = len(memory.reports)
        await until(lambda: len(memory.reports) >= before + 2, "two reports")
        found = [each for report in memory.reports for each in report.searches]
    if not on:
        assert found == []
        return
    search, question = sorted(found, key=lambda each: not each.HasField("filter"))
    assert search == serving_pb2.LiveSearch(
        question=QUESTION, retrieval=request.retrieval, filter=request.filter
    )
    assert question == serving_pb2.LiveSearch(question=QUESTION, retrieval="RETRIEVAL_HYBRID")


async def test_of_many_questions_a_sample_is_reported(
    world: World, first: Generation, indexer: tuple[MemoryIndexer, str]
) -> None:
    memory, address = indexer
    patient: dict[str, Any] = {
        "report_seconds": 60,
        "read_queue_seconds": SECONDS,
        "search_queue_seconds": SECONDS,
    }
    async with running(world, indexer_url=address, **patient, **RECORDING) as site:
        await site.serves(first)
        await asyncio.gather(*(ask(site, f"Who built tower {n}?") for n in range(20)))
        await site.gateway.stop()
        assert len({each.question for each in recorded(memory)}) == QUESTIONS_A_REPORT

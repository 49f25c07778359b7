"""What a gateway tells of the questions it answered: nothing, unless it is switched on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from realm.records.generations import Generation
from realm.v1 import answer_pb2, retrieval_pb2
from services.gateway.reporting import QUESTIONS_A_REPORT
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import Site, World, running, until

QUESTION = "Who built the tower?"


@pytest.fixture
async def indexer() -> AsyncIterator[tuple[MemoryIndexer, str]]:
    async with running_indexer() as found:
        yield found


async def ask(site: Site, question: str = QUESTION) -> answer_pb2.AnswerQuestionResponse:
    request = answer_pb2.AnswerQuestionRequest(question=question)
    return await site.answers.AnswerQuestion(request, timeout=10)


async def two_reports(indexer: MemoryIndexer) -> None:
    heard = len(indexer.reports)
    await until(lambda: len(indexer.reports) >= heard + 2, "two reports")


async def test_by_default_no_question_leaves_the_gateway(
    world: World, first: Generation, indexer: tuple[MemoryIndexer, str]
) -> None:
    double, address = indexer
    async with running(world, indexer_url=address) as site:
        await site.serves(first)
        await ask(site)
        await two_reports(double)
        assert not any(report.questions for report in double.reports)


async def test_switched_on_the_answer_s_document_is_told_once(
    world: World, first: Generation, indexer: tuple[MemoryIndexer, str]
) -> None:
    double, address = indexer
    changes = {"record_questions": True, "record_probability": 0.0}
    async with running(world, indexer_url=address, **changes) as site:
        await site.serves(first)
        response = await ask(site)
        await site.retrieval.RetrievePassages(
            retrieval_pb2.RetrievePassagesRequest(question="only passages"), timeout=10
        )
        await two_reports(double)
        (told,) = [each for report in double.reports for each in report.questions]
        assert told.question == QUESTION
        assert told.document_id == response.answers[0].sources[0].passage.document_id
        assert told.snapshot == first.snapshot


async def test_an_unlikely_answer_is_nothing_to_hold_a_model_to(
    world: World, first: Generation, indexer: tuple[MemoryIndexer, str]
) -> None:
    double, address = indexer
    changes = {"record_questions": True, "record_probability": 1.0}
    async with running(world, indexer_url=address, **changes) as site:
        await site.serves(first)
        assert (await ask(site)).answers[0].probability < 1.0
        await two_reports(double)
        assert not any(report.questions for report in double.reports)


async def test_of_many_a_few_are_told(
    world: World, first: Generation, indexer: tuple[MemoryIndexer, str]
) -> None:
    double, address = indexer
    changes = {"record_questions": True, "record_probability": 0.0, "report_seconds": 60}
    async with running(world, indexer_url=address, **changes) as site:
        await site.serves(first)
        await asyncio.gather(*(ask(site, f"Who built tower {n}?") for n in range(20)))
        await site.gateway.stop()
        told = [each.question for report in double.reports for each in report.questions]
        assert len(set(told)) == QUESTIONS_A_REPORT

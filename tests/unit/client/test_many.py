"""Many questions, documents and changes, from sources of either kind, through both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from realm.client import AsyncClient, document, none_of, where
from realm.client.requests import BATCH_DOCUMENTS
from realm.errors import DeadlinePassed, InvalidInput, NotFound
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import Filter
from tests.unit.client.clients import BOTH
from tests.unit.client.test_client import PATIENCE, QUESTION, Place, place

__all__ = ["place"]

QUESTIONS = [QUESTION, "paris", " ", "rivers of France"]


def scores(found: RetrievePassagesResponse) -> dict[str, float]:
    return {each.passage.passage_id: each.score for each in found.passages}


@BOTH
async def test_a_filter_bounds_every_kind_of_question(place: Place, kind: Any) -> None:
    acme: list[str | Filter] = ["tenant=acme", none_of("number>3")]
    async with kind(place.address, timeout=PATIENCE) as client:
        found = await client.search(QUESTION, limit=50, where=acme)
        assert sorted(each.passage.metadata["number"] for each in found.passages) == ["0", "2"]
        answered = await client.ask(QUESTION, passages=20, answers=10, where=where(*acme))
        replies = [each async for each in client.ask_many([QUESTION], where=acme)]
        many = [each async for each in client.search_many([QUESTION], where=acme, limit=50)]
        assert many[0].found.passages[0].passage == found.passages[0].passage
        for response in (answered, replies[0].answer):
            sources = [each.passage for answer in response.answers for each in answer.sources]
            assert {each.metadata["tenant"] for each in sources} == {"acme"}
        for wrong in ("", "=", 3, [3], "year>old"):
            with pytest.raises(InvalidInput):
                await client.search(QUESTION, where=wrong)


@BOTH
async def test_many_searches_find_what_each_alone_finds(place: Place, kind: Any) -> None:
    async with kind(place.address, timeout=PATIENCE) as client:
        options: dict[str, Any] = {"limit": 3, "retrieval": "bm25", "fields": ["passages"]}
        found = [each async for each in client.search_many(QUESTIONS, **options)]
        assert sorted(each.number for each in found) == [0, 1, 2, 3]
        for each in found:
            assert each.question == QUESTIONS[each.number]
            if each.question == " ":
                assert each.found is None
                assert isinstance(each.failure, InvalidInput)
                assert each.error == each.failure.message
            else:
                alone = await client.search(each.question, **options)
                # What is computed together is rounded otherwise than what is computed alone.
                assert scores(each.found) == pytest.approx(scores(alone), abs=1e-5)
                assert not alone.index_version.generation


async def test_questions_of_an_asynchronous_source_are_read_as_they_are_asked(
    place: Place,
) -> None:
    """The source waits for the answer to each question before it gives the next one."""
    answered = asyncio.Event()

    async def questions() -> AsyncIterator[str]:
        for each in QUESTIONS:
            answered.clear()
            yield each
            async with asyncio.timeout(PATIENCE):
                await answered.wait()

    async with AsyncClient(place.address, timeout=PATIENCE) as client:
        numbers = []
        async for reply in client.ask_many(questions()):
            numbers.append(reply.number)
            answered.set()
        assert numbers == [0, 1, 2, 3]
        nobody = [each async for each in client.search_many(_nothing())]
        assert nobody == []


async def _nothing() -> AsyncIterator[str]:
    for each in list[str]():
        yield each


async def test_what_an_asynchronous_source_raises_comes_after_the_answers(place: Place) -> None:
    async def questions() -> AsyncIterator[Any]:
        yield QUESTION
        yield "paris"
        raise ZeroDivisionError("the source's own")

    async def numbers() -> AsyncIterator[Any]:
        yield QUESTION
        yield 7

    async with AsyncClient(place.address, timeout=PATIENCE) as client:
        replies = client.ask_many(questions())
        assert {(await anext(replies)).number, (await anext(replies)).number} == {0, 1}
        with pytest.raises(ZeroDivisionError):
            await anext(replies)
        with pytest.raises(InvalidInput, match=r"questions\[1\]"):
            _ = [each async for each in client.ask_many(numbers())]


async def test_who_stops_listening_ends_an_asynchronous_source(place: Place) -> None:
    async def questions() -> AsyncIterator[str]:
        while True:
            yield QUESTION

    async with AsyncClient(place.address, timeout=PATIENCE) as client:
        replies = client.ask_many(questions())
        await anext(replies)
        await replies.aclose()  # type: ignore[attr-defined]
        reader = {task for task in asyncio.all_tasks() if task.get_name() == "questions"}
        if reader:
            await asyncio.wait(reader, timeout=PATIENCE)
        assert all(task.done() for task in reader)


async def test_documents_of_an_asynchronous_source_are_imported(place: Place) -> None:
    async def documents() -> AsyncIterator[Any]:
        for number in range(BATCH_DOCUMENTS + 1):
            yield document(str(number), "text", metadata={"odd": str(number % 2)})

    async with AsyncClient(place.address, timeout=PATIENCE) as client:
        written = await client.import_documents(documents())
        assert written.documents_written == BATCH_DOCUMENTS + 1
        odd = [each.document.id async for each in client.documents(where="odd=1")]
        assert len(odd) == BATCH_DOCUMENTS // 2


@BOTH
async def test_documents_are_listed_and_deleted_by_their_metadata(place: Place, kind: Any) -> None:
    async with kind(place.address, timeout=PATIENCE) as client:
        await client.upsert([document(n, "text", metadata={"lang": n}) for n in ("de", "fr")])
        listed = [each async for each in client.documents(where="lang!=de")]
        assert [each.document.id for each in listed] == ["fr"]
        gone = await client.delete(where="lang=de")
        assert (gone.documents_deleted, gone.more) == (1, False)
        assert [each.document.id async for each in client.documents()] == ["fr"]
        with pytest.raises(InvalidInput):
            await client.delete()


@BOTH
async def test_a_refresh_is_followed_and_its_generation_looked_up(place: Place, kind: Any) -> None:
    async with kind(place.address, timeout=PATIENCE) as client:
        begun = await client.refresh(reason="to follow it")
        steps = [each async for each in client.follow(begun.operation, timeout=PATIENCE)]
        assert [each.done for each in steps] == [False, False, True]
        assert (await client.generation(2)).generation == 2
        with pytest.raises(NotFound):
            await client.generation(3)


@BOTH
async def test_a_call_s_own_timeout_goes_before_the_client_s(place: Place, kind: Any) -> None:
    place.indexer.awake.clear()
    async with kind(place.address, timeout=PATIENCE) as client:
        with pytest.raises(DeadlinePassed):
            await client.upsert([document("a", "text")], timeout=0.2)
        place.indexer.awake.set()
        await client.upsert([document("a", "text")])
        assert place.indexer.seconds is not None
        assert place.indexer.seconds > 1
        for wrong in ("1", -1, True):
            with pytest.raises(InvalidInput, match="timeout"):
                await client.get("a", timeout=wrong)
        await client.get("a", timeout=None)

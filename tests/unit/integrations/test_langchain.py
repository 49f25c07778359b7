"""LangChain's own calls, over a real gateway."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="needs realm[langchain]")

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from realm.errors import InvalidInput
from realm.integrations.connection import Connection
from realm.integrations.langchain import RealmRetriever
from tests.unit.integrations.expected import QUESTION, expected, of_tenant


@pytest.fixture
def retriever(address: str) -> RealmRetriever:
    return RealmRetriever(connection=Connection(address), options={"limit": 3})


def described(documents: list[Document]) -> list[tuple[str | None, str, dict[str, object]]]:
    return [(each.id, each.page_content, each.metadata) for each in documents]


def test_passages_are_documents_with_scores_and_versions(
    retriever: RealmRetriever, address: str
) -> None:
    assert described(retriever.invoke(QUESTION)) == expected(address, limit=3)


async def test_an_asynchronous_call_finds_the_same(retriever: RealmRetriever, address: str) -> None:
    assert described(await retriever.ainvoke(QUESTION)) == expected(address, limit=3)
    await retriever.connection.aclose()


def test_each_event_loop_has_a_client_of_its_own(retriever: RealmRetriever) -> None:
    async def ask() -> list[Document]:
        try:
            found: list[Document] = await retriever.ainvoke(QUESTION)
            return found
        finally:
            await retriever.connection.aclose()

    assert described(asyncio.run(ask())) == described(asyncio.run(ask()))


def test_a_batch_is_answered_in_its_order(retriever: RealmRetriever) -> None:
    questions = [QUESTION, "the Seine", QUESTION]
    alone = [described(retriever.invoke(each)) for each in questions]
    assert [described(each) for each in retriever.batch(questions)] == alone


async def test_so_is_an_asynchronous_one(retriever: RealmRetriever) -> None:
    questions = [QUESTION, "the Seine"]
    alone = [described(await retriever.ainvoke(each)) for each in questions]
    assert [described(each) for each in await retriever.abatch(questions)] == alone
    await retriever.connection.aclose()


def test_options_of_one_call_go_before_those_of_the_retriever(retriever: RealmRetriever) -> None:
    found = retriever.invoke(QUESTION, where="tenant=acme", limit=1)
    assert len(found) == 1
    assert of_tenant(found[0].metadata, "acme")


def test_it_is_part_of_a_chain(retriever: RealmRetriever) -> None:
    chain = retriever | RunnableLambda(lambda found: [each.page_content for each in found])
    assert chain.invoke(QUESTION) == [each.page_content for each in retriever.invoke(QUESTION)]


def test_what_the_gateway_refuses_is_realms_own_error(retriever: RealmRetriever) -> None:
    with pytest.raises(InvalidInput, match="question"):
        retriever.invoke("   ")

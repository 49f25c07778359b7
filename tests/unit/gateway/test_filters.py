"""Filters of requests and of callers, and masks, through a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from realm.errors import FailedPrecondition, InvalidInput, NotFound
from realm.filters import matches, none_of, where
from realm.records.generation import Generation
from realm.settings.access import Access
from realm.v1 import answer_pb2, corpus_pb2, retrieval_pb2
from realm.v1.types_pb2 import Document, Filter
from services.gateway.admission.limits import Limit
from services.gateway.forwarding import CorpusServicer
from services.gateway.leader import Forwarder, LeaderChannel
from services.gateway.scope import check_writes, confine, reachable
from services.gateway.waiting import Shutdown
from tests.unit.gateway.indexer import MemoryIndexer
from tests.unit.gateway.site import (
    PATIENCE,
    TENANTS,
    Site,
    World,
    calling_with,
    failure,
    running,
)

QUESTION = "who built the tower"
SEARCH = retrieval_pb2.RetrievePassagesRequest


async def sought(site: Site, filter: Filter) -> list[dict[str, str]]:
    """Metadata of what a search and a question find."""
    found = await site.retrieval.RetrievePassages(
        SEARCH(question=QUESTION, limit=50, filter=filter), timeout=PATIENCE
    )
    asked = answer_pb2.AnswerQuestionRequest(question=QUESTION, passages=20, filter=filter)
    answered = await site.answers.AnswerQuestion(asked, timeout=PATIENCE)
    sources = [each.passage for answer in answered.answers for each in answer.sources]
    assert all(matches(filter, each.metadata) for each in sources)
    return [dict(each.passage.metadata) for each in found.passages]


@pytest.mark.parametrize(
    ("filter", "numbers"),
    [
        (where("tenant=acme"), "024"),
        (where("number>=1", "number<4"), "123"),
        (none_of("tenant=acme", "number>3"), "13"),
        (where("tenant=nobody"), ""),
    ],
)
async def test_only_passages_that_pass_are_found(
    site: Site, first: Generation, filter: Filter, numbers: str
) -> None:
    assert sorted(each["number"] for each in await sought(site, filter)) == sorted(numbers)


async def test_a_filter_that_cannot_be_applied_is_refused_by_name(site: Site) -> None:
    wrong = Filter(range=Filter.Range(key="number", at_least="many"))
    call = site.retrieval.RetrievePassages(SEARCH(question=QUESTION, filter=wrong))
    error = await failure(call)
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "filter.range.at_least"


async def test_a_generation_of_an_earlier_release_refuses_ranges_alone(world: World) -> None:
    snapshot = world.publish(seed=1, step=10)
    generation = world.build(snapshot, ranges=False)
    world.commit(generation)
    async with running(world) as site:
        await site.serves(generation)
        assert len(await sought(site, where("tenant=acme"))) == 3
        ranged = none_of(where("number>1"))
        error = await failure(
            site.retrieval.RetrievePassages(SEARCH(question=QUESTION, filter=ranged))
        )
        assert isinstance(error, FailedPrecondition)
        assert "refresh the index" in error.message


async def test_what_a_caller_may_reach_is_never_widened() -> None:
    scope = where("tenant=acme")
    for asked in (None, where("tenant=globex"), none_of("tenant=acme"), where("lang=de")):
        request = SEARCH(question=QUESTION, filter=asked)
        with calling_with(scope):
            reach = reachable(request)
            confine(request)
        assert request.filter == reach
        for tenant in ("acme", "globex"):
            metadata = {"tenant": tenant, "lang": "de"}
            expected = matches(scope, metadata) and matches(asked, metadata)
            assert matches(reach, metadata) == expected
    assert reachable(SEARCH(question=QUESTION)) is None


async def test_a_scope_is_its_own_call_s_alone() -> None:
    async def call(tenant: str) -> Any:
        with calling_with(where(f"tenant={tenant}")):
            await asyncio.sleep(0)
            return reachable(SEARCH())

    found = await asyncio.gather(*(call(each) for each in "abc"))
    assert found == [where(f"tenant={each}") for each in "abc"]


def test_documents_out_of_reach_are_not_written() -> None:
    mine, foreign = (
        Document(id=each, text="x", metadata={"tenant": each}) for each in ("acme", "globex")
    )
    with calling_with(where("tenant=acme")):
        check_writes(corpus_pb2.UpsertDocumentsRequest(documents=[mine]))
        for documents in ([mine, foreign], [Document(id="x", text="x")]):
            with pytest.raises(InvalidInput, match="outside of what this call may write"):
                check_writes(corpus_pb2.UpsertDocumentsRequest(documents=documents))


async def test_a_mask_leaves_out_what_was_not_asked_for(site: Site) -> None:
    mask = FieldMask(
        paths=["passages.passage.document_id", "passages.score", "index_version", "passages.score"]
    )
    whole = await site.retrieval.RetrievePassages(SEARCH(question=QUESTION), timeout=PATIENCE)
    found = await site.retrieval.RetrievePassages(
        SEARCH(question=QUESTION, read_mask=mask), timeout=PATIENCE
    )
    assert found.index_version.generation == whole.index_version.generation
    assert [each.passage.document_id for each in found.passages] == [
        each.passage.document_id for each in whole.passages
    ]
    for each in found.passages:
        assert {field.name for field, _ in each.ListFields()} == {"passage", "score"}
        assert {field.name for field, _ in each.passage.ListFields()} == {"document_id"}
    answered = await site.answers.AnswerQuestion(
        answer_pb2.AnswerQuestionRequest(
            question=QUESTION, read_mask=FieldMask(paths=["answers.text", "answers"])
        ),
        timeout=PATIENCE,
    )
    assert {field.name for field, _ in answered.ListFields()} == {"answers"}
    assert answered.answers[0].sources[0].passage.text


async def test_a_mask_has_few_paths(site: Site) -> None:
    request = SEARCH(question=QUESTION, read_mask=FieldMask(paths=["passages"] * 1_000))
    error = await failure(site.retrieval.RetrievePassages(request))
    assert isinstance(error, InvalidInput)
    assert "1000 paths" in error.message


@pytest.mark.parametrize(
    "path", ["passage", "passages.text", "passages.score.x", "passages.passage.metadata.k", ""]
)
async def test_a_mask_names_fields_that_exist(site: Site, path: str) -> None:
    request = SEARCH(question=QUESTION, read_mask=FieldMask(paths=[path]))
    error = await failure(site.retrieval.RetrievePassages(request))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "read_mask"


class Call:
    """What a servicer asks of a call's context."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> float:
        return PATIENCE


@pytest.fixture
async def corpus(indexer: tuple[MemoryIndexer, str]) -> AsyncIterator[CorpusServicer]:
    """A gateway's, over an indexer that has a document of each tenant."""
    for each in TENANTS:
        indexer[0].documents[each] = Document(id=each, text="x", metadata={"tenant": each})
    leader = LeaderChannel(indexer[1], Access())
    yield CorpusServicer(Forwarder(leader, 1.0), Shutdown(), 1000, Limit("imports", 1))
    await leader.close()


@pytest.mark.parametrize(
    "asked", [None, where("tenant"), where("tenant=globex"), none_of("tenant=acme")]
)
async def test_a_caller_with_a_scope_reaches_no_other_tenant_s_documents(
    corpus: CorpusServicer, indexer: tuple[MemoryIndexer, str], asked: Filter | None
) -> None:
    call = Call()
    with calling_with(where("tenant=acme")):
        listed = await corpus.ListDocuments(corpus_pb2.ListDocumentsRequest(filter=asked), call)
        assert {each.document.id for each in listed.documents} <= {"acme"}
        get = corpus_pb2.GetDocumentRequest(document_id="globex", filter=asked)
        with pytest.raises(NotFound):
            await corpus.GetDocument(get, call)
        write = corpus_pb2.UpsertDocumentsRequest(
            documents=[Document(id="globex", text="x", metadata={"tenant": "globex"})], filter=asked
        )
        with pytest.raises(InvalidInput):
            await corpus.UpsertDocuments(write, call)
        named = corpus_pb2.DeleteDocumentsRequest(document_ids=["globex"], filter=asked)
        await corpus.DeleteDocuments(named, call)
        if asked is None:
            with pytest.raises(InvalidInput):  # a scope alone never says: all of it
                await corpus.DeleteDocuments(corpus_pb2.DeleteDocumentsRequest(), call)
        else:
            await corpus.DeleteDocuments(corpus_pb2.DeleteDocumentsRequest(filter=asked), call)
        assert "globex" in indexer[0].documents
        mine = corpus_pb2.UpsertDocumentsRequest(
            documents=[Document(id="new", text="x", metadata={"tenant": "acme"})]
        )
        await corpus.UpsertDocuments(mine, call)
        # The indexer is told what may be replaced.
        assert indexer[0].payloads[mine.request_id].filter == where("tenant=acme")

"""Writes and controls pass through to the indexer, with their deadline, metadata and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from realm.errors import (
    Conflict,
    DependencyUnavailable,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    NotReady,
    RequestIdReused,
)
from realm.filters import where
from realm.records.generation import Generation
from realm.records.leaders import Leaders, Term
from realm.v1 import corpus_pb2, index_pb2, types_pb2
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import PATIENCE, Site, World, failure, running, until


def document(document_id: str = "a", text: str = "some text") -> types_pb2.Document:
    return types_pb2.Document(id=document_id, title="t", text=text, metadata={"k": "v"})


def upsert(*documents: types_pb2.Document, request_id: str = "") -> Any:
    return corpus_pb2.UpsertDocumentsRequest(documents=documents, request_id=request_id)


def delete(*ids: str, request_id: str = "") -> Any:
    return corpus_pb2.DeleteDocumentsRequest(document_ids=ids, request_id=request_id)


async def stored(site: Site, document_id: str) -> types_pb2.Document:
    request = corpus_pb2.GetDocumentRequest(document_id=document_id)
    found: types_pb2.Document = (await site.corpus.GetDocument(request, timeout=PATIENCE)).document
    return found


@pytest.fixture
async def pair(
    world: World, indexer: tuple[MemoryIndexer, str]
) -> AsyncIterator[tuple[Site, MemoryIndexer]]:
    async with running(world, indexer_url=indexer[1], max_document_bytes=1000) as site:
        yield site, indexer[0]


async def test_writes_arrive_whole_and_read_back(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    written = await site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE)
    assert written.corpus_version == 1
    assert indexer.documents["a"] == await stored(site, "a") == document()
    gone = await site.corpus.DeleteDocuments(delete("a"), timeout=PATIENCE)
    assert gone.corpus_version == 2
    assert indexer.documents == {}


async def test_an_id_names_one_document_in_every_unicode_form(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    composed, decomposed = "F\u00fc\u00dfe", "Fu\u0308\u00dfe"
    for name in (composed, decomposed):
        await site.corpus.UpsertDocuments(upsert(document(name)), timeout=PATIENCE)
        assert list(indexer.documents) == [composed]
        assert (await stored(site, name)).id == composed
    await site.corpus.DeleteDocuments(delete(decomposed), timeout=PATIENCE)
    assert indexer.documents == {}
    # A store may have ids from before they were normalised.
    indexer.documents[decomposed] = document(decomposed)
    assert (await stored(site, decomposed)).id == decomposed
    await site.corpus.DeleteDocuments(delete(decomposed), timeout=PATIENCE)
    assert indexer.documents == {}


async def test_a_byte_order_mark_is_no_part_of_a_text(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    await site.corpus.UpsertDocuments(upsert(document("a", "\ufeffHello")), timeout=PATIENCE)
    batch = corpus_pb2.ImportDocumentsRequest(documents=[document("b", "\ufeffHello")])
    await site.corpus.ImportDocuments(iter([batch]), timeout=PATIENCE)
    assert [each.text for each in indexer.documents.values()] == ["Hello", "Hello"]


async def test_a_write_is_retried_under_one_request_id_given_or_made(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    for request_id in ("mine", "mine", ""):
        indexer.fault, indexer.failures = NotReady("this indexer is a standby"), 2
        request = upsert(document(), request_id=request_id)
        await site.corpus.UpsertDocuments(request, timeout=PATIENCE)
        assert indexer.failures == 0
    mine, made = indexer.requests
    assert (mine, indexer.requests["mine"], len(made)) == ("mine", 1, 36)


async def test_the_deadline_goes_along_and_named_metadata_alone(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    sent = {
        "x-request-id": "42",
        "traceparent": trace,
        "authorization": "Bearer secret",
        "cookie": "secret",
        "x-raw-bin": b"\0\1",
    }
    await site.corpus.UpsertDocuments(upsert(document()), timeout=7, metadata=tuple(sent.items()))
    ours = {key: value for key, value in indexer.metadata.items() if key != "user-agent"}
    assert ours == {"x-request-id": "42", "traceparent": trace}
    assert indexer.seconds is not None
    assert 0 < indexer.seconds < 8  # gRPC rounds deadlines up


async def test_a_call_may_wait_as_long_as_the_settings_say(
    world: World, indexer: tuple[MemoryIndexer, str]
) -> None:
    async with running(world, indexer_url=indexer[1], leader_wait_seconds=100) as site:
        await site.corpus.UpsertDocuments(upsert(document()), timeout=300)
    assert indexer[0].seconds is not None
    assert 60 < indexer[0].seconds <= 101


@pytest.mark.parametrize(
    ("method", "field", "request_"),
    [
        ("UpsertDocuments", "documents", upsert()),
        ("UpsertDocuments", "documents[1].text", upsert(document(), document("b", "x" * 1001))),
        ("UpsertDocuments", "request_id", upsert(document(), request_id="x" * 129)),
        ("DeleteDocuments", "document_ids[1]", delete("a", "")),
        ("GetDocument", "document_id", corpus_pb2.GetDocumentRequest(document_id=" ")),
    ],
)
async def test_an_unusable_request_is_refused_here(
    pair: tuple[Site, MemoryIndexer], method: str, field: str, request_: Any
) -> None:
    """All limits: tests/unit/corpus/test_documents.py."""
    site, indexer = pair
    error = await failure(getattr(site.corpus, method)(request_, timeout=PATIENCE))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == field
    assert indexer.metadata == {}


async def test_errors_of_the_indexer_pass_through_as_they_are(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    error = await failure(
        site.corpus.GetDocument(corpus_pb2.GetDocumentRequest(document_id="no"), timeout=9)
    )
    assert isinstance(error, NotFound)
    assert (error.message, error.details) == ("there is no document no", {"document_id": "x"})
    indexer.fault, indexer.failures = Conflict("somebody else wrote first", version=4), 1
    error = await failure(site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE))
    assert isinstance(error, Conflict)
    assert error.details == {"version": "4"}
    error = await failure(site.index.RollBackIndex(index_pb2.RollBackIndexRequest(), timeout=9))
    assert isinstance(error, FailedPrecondition)
    indexer.fault, indexer.failures = RuntimeError("secret"), 1
    error = await failure(site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE))
    assert "secret" not in error.message
    assert error.details["incident"]


async def test_import_streams_through_and_stops_at_a_bad_batch(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    batches = [
        corpus_pb2.ImportDocumentsRequest(documents=[document(f"{batch}-{n}") for n in range(3)])
        for batch in range(4)
    ]
    indexer.fault, indexer.failures = NotReady("this indexer is a standby"), 2
    done = await site.corpus.ImportDocuments(iter(batches), timeout=PATIENCE)
    assert (done.documents_written, done.corpus_version) == (12, 4)
    batches[2].documents[1].text = ""
    error = await failure(site.corpus.ImportDocuments(iter(batches), timeout=PATIENCE))
    assert isinstance(error, InvalidInput)
    assert (error.details["batch"], error.details["field"]) == ("2", "documents[1].text")


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "a", "a"]], ids=["others", "the same"])
async def test_one_request_id_for_all_batches_of_an_import_is_refused(
    pair: tuple[Site, MemoryIndexer], names: list[str]
) -> None:
    """All but the first were counted as written, and were not."""
    site, indexer = pair
    batches = [
        corpus_pb2.ImportDocumentsRequest(request_id="job-1", documents=[document(name)])
        for name in names
    ]
    error = await failure(site.corpus.ImportDocuments(iter(batches), timeout=PATIENCE))
    assert isinstance(error, RequestIdReused)
    assert (error.details["batch"], error.details["field"]) == ("1", "request_id")
    assert list(indexer.documents) == ["a"]


async def test_import_ended_by_the_indexer_says_why(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    indexer.fault, indexer.failures = Conflict("no longer the leader"), 1

    async def batches() -> AsyncIterator[Any]:
        for number in range(200):
            yield corpus_pb2.ImportDocumentsRequest(documents=[document(str(number))])

    error = await failure(site.corpus.ImportDocuments(batches(), timeout=PATIENCE))
    assert isinstance(error, Conflict)


async def test_index_calls_pass_through(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    status = (await site.index.GetIndexStatus(index_pb2.GetIndexStatusRequest(), timeout=9)).status
    assert status.newest_snapshot.number == 3
    listed = await site.index.ListGenerations(index_pb2.ListGenerationsRequest(limit=1), timeout=9)
    assert [each.generation for each in listed.generations] == [2]
    error = await failure(
        site.index.ListGenerations(index_pb2.ListGenerationsRequest(limit=0), timeout=9)
    )
    assert error.details["field"] == "limit"
    await site.index.RefreshIndex(index_pb2.RefreshIndexRequest(reason="because"), timeout=9)
    assert indexer.refreshes == ["because"]


async def test_watch_sends_each_change(pair: tuple[Site, MemoryIndexer]) -> None:
    site, _ = pair
    watch = aiter(site.index.WatchIndex(index_pb2.WatchIndexRequest(), timeout=PATIENCE))
    assert not (await anext(watch)).status.paused
    await site.index.PauseRefresh(index_pb2.PauseRefreshRequest(paused=True), timeout=PATIENCE)
    assert (await anext(watch)).status.paused


async def test_without_an_indexer_writes_fail_and_questions_do_not(
    site: Site, first: Generation
) -> None:
    error = await failure(site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE))
    assert isinstance(error, DependencyUnavailable)
    assert "the indexer at" in error.message
    site.world.publish(seed=2, step=30)
    site.world.store.write_json("control/paused.json", {"paused": True, "why": "", "at": 0.0})
    await until(
        lambda: (found := site.gateway.slot.freshness(1)) is not None and found.lag.steps == 20
    )
    status = (await site.index.GetIndexStatus(index_pb2.GetIndexStatusRequest(), timeout=9)).status
    assert (status.live.generation, status.live.lag_steps) == (first.number, 20)
    assert (status.newest_snapshot.number, status.newest_snapshot.step) == (2, 30)
    assert status.paused
    assert [each.generation for each in status.gateways] == [first.number]


def lead(world: World, number: int, address: str) -> None:
    Leaders(world.store).claim(Term(number, f"process {number}", address, 0.0, 0))


async def test_a_write_kept_by_a_sleeping_leader_goes_to_the_next(
    world: World, indexer: tuple[MemoryIndexer, str]
) -> None:
    asleep, address = indexer
    asleep.awake.clear()
    async with running_indexer() as (awake, other), running(world) as site:
        lead(world, 1, address)
        write = asyncio.ensure_future(
            site.corpus.UpsertDocuments(upsert(document(), request_id="mine"), timeout=PATIENCE)
        )
        await until(lambda: asleep.metadata != {}, "the write at the sleeping leader")
        lead(world, 2, other)
        assert (await write).corpus_version == 1
        assert list(awake.requests) == ["mine"]
        asleep.awake.set()


async def test_a_write_that_an_ending_indexer_cancelled_is_sent_again(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    indexer.cancels = 1
    written = await site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE)
    assert (written.corpus_version, indexer.cancels) == (1, 0)


@pytest.mark.parametrize(
    ("fault", "failures", "calls", "kind"),
    [
        (NotReady("not I", leader="elsewhere"), 1, 2, FailedPrecondition),  # it did nothing
        (NotReady("half done"), 2, 1, NotReady),
    ],
)
async def test_an_unsafe_call_is_repeated_only_if_it_was_refused(
    pair: tuple[Site, MemoryIndexer], fault: NotReady, failures: int, calls: int, kind: Any
) -> None:
    site, indexer = pair
    indexer.fault, indexer.failures = fault, failures
    request = index_pb2.RollBackIndexRequest()
    error = await failure(site.index.RollBackIndex(request, timeout=PATIENCE))
    assert isinstance(error, kind)
    assert indexer.failures == 1 - (calls - 1)


async def test_a_refresh_is_followed_to_its_end(pair: tuple[Site, MemoryIndexer]) -> None:
    site, _ = pair
    begun = await site.index.RefreshIndex(index_pb2.RefreshIndexRequest(), timeout=PATIENCE)
    assert begun.operation == 1
    request = index_pb2.FollowRefreshRequest(operation=begun.operation)
    steps = [each async for each in site.index.FollowRefresh(request, timeout=PATIENCE)]
    assert [each.done for each in steps] == [False, False, True]
    assert steps[-1].refresh.generation == begun.operation
    one = index_pb2.GetGenerationRequest(generation=2)
    found = await site.index.GetGeneration(one, timeout=PATIENCE)
    assert found.generation.generation == 2


async def test_a_filter_alone_says_what_to_delete(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    other = types_pb2.Document(id="b", text="text", metadata={"k": "other"})
    await site.corpus.UpsertDocuments(upsert(document(), other), timeout=PATIENCE)
    for nothing in (delete(), delete("")):
        assert isinstance(await failure(site.corpus.DeleteDocuments(nothing)), InvalidInput)
    wrong = corpus_pb2.DeleteDocumentsRequest(filter=types_pb2.Filter())
    assert isinstance(await failure(site.corpus.DeleteDocuments(wrong)), InvalidInput)
    request = corpus_pb2.DeleteDocumentsRequest(filter=where("k=v"))
    gone = await site.corpus.DeleteDocuments(request, timeout=PATIENCE)
    assert gone.documents_deleted == 1
    listed = await site.corpus.ListDocuments(corpus_pb2.ListDocumentsRequest(), timeout=PATIENCE)
    assert [each.document.id for each in listed.documents] == ["b"] == list(indexer.documents)


async def test_a_bound_import_writes_no_document_that_does_not_match(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    other = types_pb2.Document(id="b", text="text", metadata={"k": "other"})
    batches = [
        corpus_pb2.ImportDocumentsRequest(documents=[each], filter=where("k=v"))
        for each in (document(), other)
    ]
    error = await failure(site.corpus.ImportDocuments(iter(batches)))
    assert isinstance(error, InvalidInput)
    assert error.details["batch"] == "1"
    assert list(indexer.documents) == ["a"]

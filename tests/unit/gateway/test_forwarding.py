"""Writes and controls pass through to the indexer, with their deadline, metadata and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from realm.client.wire import from_rpc_error
from realm.errors import (
    Conflict,
    DependencyUnavailable,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    NotReady,
    RequestIdReused,
)
from realm.records.generations import Generation
from realm.records.leaders import Leaders, Term
from realm.v1 import corpus_pb2, index_pb2, types_pb2
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import PATIENCE, Site, World, running, until


def document(document_id: str = "a", text: str = "some text") -> types_pb2.Document:
    return types_pb2.Document(id=document_id, title="t", text=text, metadata={"k": "v"})


def upsert(*documents: types_pb2.Document, request_id: str = "") -> Any:
    return corpus_pb2.UpsertDocumentsRequest(documents=documents, request_id=request_id)


async def failure(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@pytest.fixture
async def indexer() -> AsyncIterator[tuple[MemoryIndexer, str]]:
    async with running_indexer() as found:
        yield found


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
    assert indexer.documents["a"] == document()
    found = await site.corpus.GetDocument(
        corpus_pb2.GetDocumentRequest(document_id="a"), timeout=PATIENCE
    )
    assert found.document == document()
    gone = await site.corpus.DeleteDocuments(
        corpus_pb2.DeleteDocumentsRequest(document_ids=["a"]), timeout=PATIENCE
    )
    assert gone.corpus_version == 2
    assert indexer.documents == {}


async def test_an_id_names_one_document_however_its_letters_were_typed(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    one, other = "F\u00fc\u00dfe", "Fu\u0308\u00dfe"
    for name in (one, other):
        await site.corpus.UpsertDocuments(upsert(document(name)), timeout=PATIENCE)
        assert list(indexer.documents) == [one]
        found = await site.corpus.GetDocument(
            corpus_pb2.GetDocumentRequest(document_id=name), timeout=PATIENCE
        )
        assert found.document.id == one
    await site.corpus.DeleteDocuments(
        corpus_pb2.DeleteDocumentsRequest(document_ids=[other]), timeout=PATIENCE
    )
    assert indexer.documents == {}


async def test_an_id_stored_before_ids_had_one_form_is_read_and_deleted(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    old = "Fu\u0308\u00dfe"
    indexer.documents[old] = document(old)
    found = await site.corpus.GetDocument(
        corpus_pb2.GetDocumentRequest(document_id=old), timeout=PATIENCE
    )
    assert found.document.id == old
    await site.corpus.DeleteDocuments(
        corpus_pb2.DeleteDocumentsRequest(document_ids=[old]), timeout=PATIENCE
    )
    assert indexer.documents == {}


async def test_a_byte_order_mark_is_no_part_of_a_text(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    await site.corpus.UpsertDocuments(upsert(document("a", "\ufeffHello")), timeout=PATIENCE)
    batch = corpus_pb2.ImportDocumentsRequest(documents=[document("b", "\ufeffHello")])
    await site.corpus.ImportDocuments(iter([batch]), timeout=PATIENCE)
    assert [each.text for each in indexer.documents.values()] == ["Hello", "Hello"]


async def test_request_id_is_kept_or_made(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    for _ in range(2):
        again = await site.corpus.UpsertDocuments(
            upsert(document(), request_id="mine"), timeout=PATIENCE
        )
        assert again.corpus_version == 1
    await site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE)
    mine, made = indexer.requests
    assert mine == "mine"
    assert len(made) == 36


async def test_write_is_tried_again_under_one_request_id(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    indexer.fault, indexer.failures = NotReady("this indexer is a standby"), 2
    await site.corpus.UpsertDocuments(upsert(document()), timeout=PATIENCE)
    assert indexer.failures == 0
    assert len(indexer.requests) == 1


async def test_deadline_and_metadata_go_along(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    await site.corpus.UpsertDocuments(
        upsert(document()), timeout=7, metadata=(("x-trace", "42"), ("x-raw-bin", b"\0\1"))
    )
    assert indexer.metadata["x-trace"] == "42"
    assert indexer.metadata["x-raw-bin"] == b"\0\1"
    assert indexer.seconds is not None
    assert 0 < indexer.seconds < 8  # gRPC rounds deadlines up


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("documents", upsert()),
        ("documents", upsert(*[document(str(n)) for n in range(1001)])),
        ("documents[1].id", upsert(document(), document(" "))),
        ("documents[0].text", upsert(document(text=" \n"))),
        ("documents[0].text", upsert(document(text="\u200b\ufeff\u2060\u00ad"))),
        ("documents[1].text", upsert(document(), document("b", "x" * 1001))),
        ("request_id", upsert(document(), request_id="x" * 129)),
    ],
)
async def test_unusable_write_is_refused_here(
    pair: tuple[Site, MemoryIndexer], field: str, request_: Any
) -> None:
    site, indexer = pair
    error = await failure(site.corpus.UpsertDocuments(request_, timeout=PATIENCE))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == field
    assert indexer.requests == {}


@pytest.mark.parametrize(("ids", "field"), [([], "document_ids"), (["a", ""], "document_ids[1]")])
async def test_unusable_deletion_is_refused_here(
    pair: tuple[Site, MemoryIndexer], ids: list[str], field: str
) -> None:
    site, _ = pair
    request = corpus_pb2.DeleteDocumentsRequest(document_ids=ids)
    error = await failure(site.corpus.DeleteDocuments(request, timeout=PATIENCE))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == field


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
    site, _ = pair
    batches = [
        corpus_pb2.ImportDocumentsRequest(documents=[document(f"{batch}-{n}") for n in range(3)])
        for batch in range(4)
    ]
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


async def test_another_write_under_a_used_request_id_is_refused(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    await site.corpus.UpsertDocuments(upsert(document(), request_id="mine"), timeout=PATIENCE)
    deletion = corpus_pb2.DeleteDocumentsRequest(request_id="mine", document_ids=["a"])
    error = await failure(site.corpus.DeleteDocuments(deletion, timeout=PATIENCE))
    assert isinstance(error, RequestIdReused)
    batch = corpus_pb2.ImportDocumentsRequest(request_id="mine", documents=[document("b")])
    error = await failure(site.corpus.ImportDocuments(iter([batch]), timeout=PATIENCE))
    assert isinstance(error, RequestIdReused)
    assert list(indexer.documents) == ["a"]


async def test_import_survives_a_change_of_leaders(pair: tuple[Site, MemoryIndexer]) -> None:
    site, indexer = pair
    indexer.fault, indexer.failures = NotReady("this indexer is a standby"), 2
    batches = [corpus_pb2.ImportDocumentsRequest(documents=[document(n)]) for n in "abc"]
    done = await site.corpus.ImportDocuments(iter(batches), timeout=PATIENCE)
    assert (done.documents_written, len(indexer.requests)) == (3, 3)


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


async def test_reports_follow_flips_and_survive_the_indexers_absence(world: World) -> None:
    async with running_indexer() as (_, address):
        pass  # a free port, and nobody there for now
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


def lead(world: World, number: int, address: str) -> None:
    Leaders(world.store).claim(Term(number, f"process {number}", address, 0.0, 0))


async def test_a_write_that_a_sleeping_leader_keeps_goes_to_the_next_one(
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


async def test_reports_go_to_whoever_leads(
    world: World, indexer: tuple[MemoryIndexer, str]
) -> None:
    async with running(world):
        lead(world, 1, indexer[1])
        await until(lambda: bool(indexer[0].reports), "a report")


async def test_an_unsafe_call_is_not_made_twice_unless_it_was_refused(
    pair: tuple[Site, MemoryIndexer],
) -> None:
    site, indexer = pair
    indexer.fault, indexer.failures = NotReady("not I", leader="elsewhere"), 1
    error = await failure(
        site.index.RollBackIndex(index_pb2.RollBackIndexRequest(), timeout=PATIENCE)
    )
    assert isinstance(error, FailedPrecondition)
    assert indexer.failures == 0
    indexer.fault, indexer.failures = NotReady("half done"), 2
    error = await failure(
        site.index.RollBackIndex(index_pb2.RollBackIndexRequest(), timeout=PATIENCE)
    )
    assert isinstance(error, NotReady)
    assert indexer.failures == 1

"""Writes bound to a filter: what matches is written or deleted, whatever is written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import FailedPrecondition, InvalidInput, NotFound, RealmError, RequestIdReused
from realm.filters import where
from realm.records.store import Store
from realm.v1 import corpus_pb2, types_pb2
from realm.v1.types_pb2 import Filter
from services.indexer.context import CorpusReader
from services.indexer.servicers import CorpusServicer
from services.indexer.writes import conditions
from services.indexer.writes.writer import Writer

ACME, GLOBEX = where("tenant=acme"), where("tenant=globex")
SECONDS = 20


@pytest.fixture
def corpus(store: Store) -> Iterator[CorpusServicer]:
    writer = Writer(lambda: CorpusTable(store), 0.0, lambda version: None)
    writer.start()
    reader, lister = (CorpusReader(lambda: CorpusTable(store)) for _ in range(2))
    with ThreadPoolExecutor(4) as executor:
        yield CorpusServicer(writer, reader, lister, 1 << 20, executor)
    writer.stop()
    writer.join(timeout=SECONDS)


def document(document_id: str, tenant: str, text: str = "text") -> types_pb2.Document:
    return types_pb2.Document(id=document_id, text=text, metadata={"tenant": tenant})


async def upsert(
    corpus: CorpusServicer, *documents: types_pb2.Document, filter: Filter | None = None
) -> int:
    request = corpus_pb2.UpsertDocumentsRequest(documents=documents, filter=filter)
    return int((await corpus.UpsertDocuments(request, None)).corpus_version)


async def delete(
    corpus: CorpusServicer, *ids: str, filter: Filter, request_id: str = ""
) -> corpus_pb2.DeleteDocumentsResponse:
    request = corpus_pb2.DeleteDocumentsRequest(
        document_ids=ids, filter=filter, request_id=request_id
    )
    return await corpus.DeleteDocuments(request, None)


async def ids(corpus: CorpusServicer, filter: Filter | None = None) -> set[str]:
    found = await corpus.ListDocuments(corpus_pb2.ListDocumentsRequest(filter=filter), None)
    return {each.document.id for each in found.documents}


async def test_a_bound_write_replaces_nobody_else_s_document(corpus: CorpusServicer) -> None:
    await upsert(corpus, document("a", "acme"), filter=ACME)
    await upsert(corpus, document("g", "globex"), filter=GLOBEX)
    await upsert(corpus, document("a", "acme", "edited"), filter=ACME)
    with pytest.raises(FailedPrecondition, match="'g' is one that this call may not replace"):
        await upsert(corpus, document("new", "acme"), document("g", "acme"), filter=ACME)
    with pytest.raises(FailedPrecondition, match="'a' does not match"):
        await upsert(corpus, document("a", "globex"), filter=ACME)
    assert await ids(corpus, ACME) == {"a"}
    assert await ids(corpus) == {"a", "g"}
    # Who is bound to nothing may.
    await upsert(corpus, document("g", "acme"))
    assert await ids(corpus, ACME) == {"a", "g"}


async def test_a_deleted_document_s_id_may_be_taken(corpus: CorpusServicer) -> None:
    await upsert(corpus, document("x", "globex"))
    await delete(corpus, "x", filter=GLOBEX)
    await upsert(corpus, document("x", "acme"), filter=ACME)
    assert await ids(corpus, ACME) == {"x"}


async def test_a_bound_deletion_deletes_what_matches_alone(corpus: CorpusServicer) -> None:
    await upsert(corpus, *(document(f"a{n}", "acme") for n in range(3)), document("g", "globex"))
    named = await delete(corpus, "a0", "g", "unknown", filter=ACME)
    assert (named.documents_deleted, named.more) == (1, False)
    assert await ids(corpus) == {"a1", "a2", "g"}
    rest = await delete(corpus, filter=ACME)
    assert (rest.documents_deleted, rest.more) == (2, False)
    assert await ids(corpus) == {"g"}


async def test_a_deletion_sent_again_deletes_nothing_that_came_later(
    corpus: CorpusServicer,
) -> None:
    nothing = await delete(corpus, filter=ACME, request_id="job")
    assert nothing.documents_deleted == 0
    await upsert(corpus, document("a", "acme"))
    again = await delete(corpus, filter=ACME, request_id="job")
    assert (again.corpus_version, again.documents_deleted) == (nothing.corpus_version, 0)
    assert await ids(corpus) == {"a"}
    with pytest.raises(RequestIdReused):
        await delete(corpus, filter=GLOBEX, request_id="job")


async def test_many_are_deleted_in_several_calls(
    corpus: CorpusServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (conditions, __import__("services.indexer.servicers", fromlist=["servicers"])):
        monkeypatch.setattr(module, "MOST_DELETED", 4)
    await upsert(corpus, *(document(f"a{n}", "acme") for n in range(10)))
    done = [await delete(corpus, filter=ACME) for _ in range(3)]
    assert [each.documents_deleted for each in done] == [4, 4, 2]
    assert [each.more for each in done] == [True, True, False]
    assert not await ids(corpus)


def test_what_is_written_after_the_look_is_looked_at_again(store: Store) -> None:
    table = CorpusTable(store)

    def write(document_id: str, tenant: str) -> None:
        made = Document(document_id, "", "text", {"tenant": tenant})
        table.append([Change(document_id, made, f"{document_id}{table.version}")])

    for each in "abc":
        write(each, "acme")
    reader = CorpusReader(lambda: CorpusTable(store))
    found = reader.matching(ACME, 10)
    write("b", "globex")
    write("d", "acme")
    table.append([Change("c", None, "gone")])
    decide = conditions.Deletion(ACME, "r", "").of_all(*found)
    assert {each.document_id for each in decide(table)} == {"a", "d"}


async def test_a_document_out_of_the_filter_is_not_found(corpus: CorpusServicer) -> None:
    await upsert(corpus, document("a", "acme"))
    request = corpus_pb2.GetDocumentRequest(document_id="a", filter=ACME)
    assert (await corpus.GetDocument(request, None)).document.id == "a"
    request.filter.CopyFrom(GLOBEX)
    with pytest.raises(NotFound):
        await corpus.GetDocument(request, None)


async def test_pages_follow_one_another_by_their_tokens(corpus: CorpusServicer) -> None:
    await upsert(corpus, *(document(f"a{n}", "acme") for n in range(10)), document("g", "globex"))
    found: list[str] = []
    request = corpus_pb2.ListDocumentsRequest(page_size=3, filter=ACME, with_text=True)
    while True:
        page = await corpus.ListDocuments(request, None)
        assert all(each.document.text == "text" for each in page.documents)
        found += [each.document.id for each in page.documents]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sorted(found) == [f"a{n}" for n in range(10)]
    request.filter.CopyFrom(GLOBEX)
    for token in (request.page_token, "x", "bnVsbA==", "é"):
        request.page_token = token
        with pytest.raises(InvalidInput) as caught:
            await corpus.ListDocuments(request, None)
        assert caught.value.details["field"] == "page_token"


def test_a_decision_sees_every_write_before_it_and_none_after(store: Store) -> None:
    """They wait in one queue together: plain, decided, plain."""
    versions: list[Future[int]] = []
    seen: list[set[str]] = []
    writer = Writer(lambda: CorpusTable(store), 0.2, lambda version: None)

    def decide(table: CorpusTable) -> list[Change]:
        seen.append({each.document_id for each in table.states(table.version)})
        return [Change("decided", Document("decided", "", "text"), "two")]

    def refuse(table: CorpusTable) -> list[Change]:
        raise FailedPrecondition("no")

    plain = {n: Change(n, Document(n, "", "text"), n) for n in ("one", "three")}
    versions.append(writer.submit("one", (plain["one"],)))
    versions.append(writer.submit_decision("two", "", decide))
    refused = writer.submit_decision("never", "", refuse)
    versions.append(writer.submit("three", (plain["three"],)))
    writer.start()
    assert [each.result(timeout=SECONDS) for each in versions] == [1, 2, 3]
    with pytest.raises(RealmError, match="no"):
        refused.result(timeout=SECONDS)
    writer.stop()
    writer.join(timeout=SECONDS)
    assert seen == [{"one"}]

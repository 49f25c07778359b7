"""Every method of a real gateway × every way of not being let in; and what lets in."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from realm.access.methods import needs_of
from realm.client import AsyncClient, document
from realm.client.credentials import bearer
from realm.client.wire import from_rpc_error
from realm.errors import (
    DependencyUnavailable,
    Forbidden,
    InvalidInput,
    NotFound,
    RealmError,
    Unauthenticated,
)
from realm.filters import any_of, none_of, where
from realm.records.keys import ApiKeys, Scope
from realm.records.store import Store
from realm.v1 import answer_pb2, corpus_pb2, retrieval_pb2, types_pb2
from tests.unit.access.calls import PUBLIC, SECONDS, exchange
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import MemorySearch, Site, World, running, until

ALL = tuple(Scope)


class Guarded:
    """A gateway that asks for keys, and the store where they are made."""

    def __init__(self, site: Site, indexer: MemoryIndexer) -> None:
        self.site = site
        self.indexer = indexer
        self.keys = ApiKeys(site.world.store)

    async def key(self, *scopes: Scope, **more: Any) -> str:
        """One that the gateway knows."""
        key, record = self.keys.create("test", scopes, **more)
        ring = self.site.gateway._key_ring
        assert ring is not None
        await until(lambda: record.id in ring._known, "the key at the gateway")
        return key

    async def revoked(self, key: str) -> str:
        key_id = key.split("_")[1]
        self.keys.revoke(key_id)
        ring = self.site.gateway._key_ring
        assert ring is not None
        await until(lambda: key_id in ring._revoked, "the revocation at the gateway")
        return key

    async def call(self, method: str, key: str) -> RealmError | None:
        """How a call with an empty request ends; None: well, or with a first response."""
        return (await self.exchange(method, key))[0]

    async def exchange(
        self, method: str, key: str, request: Any = None
    ) -> tuple[RealmError | None, list[Any]]:
        return await exchange(self.site.channel, method, key, request)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    async with (
        running_indexer() as (indexer, address),
        running(world, indexer_url=address, require_keys=True, keys_poll_seconds=0.02) as site,
    ):
        await site.serves(first)
        yield Guarded(site, indexer)


async def test_no_method_lets_in_who_should_not_be(guarded: Guarded) -> None:
    expired = await guarded.key(*ALL, seconds=0.01)
    await until(lambda: guarded.keys.all()[0].expired(time.time()), "the end of the key")
    other_store = await guarded.key(*ALL)
    tenant = await guarded.key(*ALL, filter=where("tenant=acme"))
    outsiders = {
        "no key": ("", Unauthenticated),
        "not a key": ("Bearer", Unauthenticated),
        "unknown": (f"realm_{'0' * 16}_{'0' * 43}", Unauthenticated),
        "wrong secret": (other_store[:-4] + "0000", Unauthenticated),
        "expired": (expired, Unauthenticated),
        "revoked": (await guarded.revoked(await guarded.key(*ALL)), Unauthenticated),
    }
    for method in PUBLIC:
        for what, (key, kind) in outsiders.items():
            assert type(await guarded.call(method, key)) is kind, (method, what)
    # A key with a filter is let in where the filter is kept to, and nowhere else.
    for method in PUBLIC:
        needs = needs_of(method)
        assert needs is not None
        if not needs.filtered:
            assert type(await guarded.call(method, tenant)) is Forbidden, method
    assert guarded.indexer.requests == {}
    assert guarded.indexer.refreshes == []
    assert not guarded.indexer.paused


async def test_a_scope_opens_its_own_methods_alone(guarded: Guarded) -> None:
    keys = {scope: await guarded.key(scope) for scope in Scope}
    for method in PUBLIC:
        needs = needs_of(method)
        assert needs is not None
        for scope, key in keys.items():
            ended = await guarded.call(method, key)
            if needs.scope == scope:
                assert not isinstance(ended, Forbidden | Unauthenticated), (method, scope)
            else:
                assert isinstance(ended, Forbidden), (method, scope)


def foreign(document_id: str = "globex") -> types_pb2.Document:
    return types_pb2.Document(id=document_id, text="x", metadata={"tenant": "globex"})


QUESTION = "where is the river?"
ASK = answer_pb2.AnswerQuestionRequest(question=QUESTION, passages=20, answers=10)
SEARCH = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, limit=100)
UPSERT = corpus_pb2.UpsertDocumentsRequest(documents=[foreign()])
#: What each method would have to do to reach another tenant's document.
TOWARDS_ANOTHER_S = {
    "RetrievePassages": SEARCH,
    "BatchRetrievePassages": retrieval_pb2.BatchRetrievePassagesRequest(question=SEARCH),
    "AnswerQuestion": ASK,
    "AnswerQuestions": answer_pb2.AnswerQuestionsRequest(question=ASK),
    "GetDocument": corpus_pb2.GetDocumentRequest(document_id="globex"),
    "ListDocuments": corpus_pb2.ListDocumentsRequest(),
    "UpsertDocuments": UPSERT,
    "ImportDocuments": corpus_pb2.ImportDocumentsRequest(documents=UPSERT.documents),
    "DeleteDocuments": corpus_pb2.DeleteDocumentsRequest(document_ids=["globex"]),
}


def widened(request: Any, filter: types_pb2.Filter | None) -> Any:
    """The request with a filter of its own, in itself or in the question that it holds."""
    request = type(request).FromString(request.SerializeToString())
    if filter is not None:
        own = request if "filter" in request.DESCRIPTOR.fields_by_name else request.question
        own.filter.CopyFrom(filter)
    return request


@pytest.mark.parametrize("widening", [None, none_of("tenant=acme"), any_of("tenant", "!tenant")])
async def test_no_method_reaches_another_tenant_s_document(
    guarded: Guarded, widening: types_pb2.Filter | None
) -> None:
    key = await guarded.key(Scope.ASK, Scope.WRITE, filter=where("tenant=acme"))
    guarded.indexer.documents["globex"] = before = foreign()
    filtered = [each for each in PUBLIC if (needs := needs_of(each)) and needs.filtered]
    assert {each.rpartition("/")[2] for each in filtered} == set(TOWARDS_ANOTHER_S)
    for method in filtered:
        request = widened(TOWARDS_ANOTHER_S[method.rpartition("/")[2]], widening)
        ended, responses = await guarded.exchange(method, key, request)
        assert not isinstance(ended, Forbidden | Unauthenticated), method
        assert "globex" not in str(responses), method
        # Passages of odd numbers belong to the other one.
        assert not re.search(r"g\d+-[13]\b", str(responses)), method
        assert guarded.indexer.documents["globex"] == before, method


async def test_who_is_not_known_has_nothing_parsed(guarded: Guarded) -> None:
    """Neither does the answer tell whether bytes are a request."""
    call = guarded.site.channel.unary_unary("/realm.v1.CorpusService/UpsertDocuments", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"\xff\xff", timeout=SECONDS)
    assert isinstance(from_rpc_error(refused.value), Unauthenticated)
    key = await guarded.key(Scope.WRITE)
    with pytest.raises(grpc.aio.AioRpcError) as parsed:
        await call(b"\xff\xff", timeout=SECONDS, metadata=bearer(key))
    assert isinstance(from_rpc_error(parsed.value), InvalidInput)


async def test_health_checks_need_no_key(guarded: Guarded) -> None:
    assert await guarded.site.serving_status("ready")


async def test_a_key_s_end_ends_its_streams(guarded: Guarded) -> None:
    key = await guarded.key(Scope.OPERATE)
    address = f"127.0.0.1:{guarded.site.gateway.port}"
    async with AsyncClient(address, key=key) as client:
        watch = aiter(client.watch(timeout=SECONDS))
        await anext(watch)
        await guarded.revoked(key)
        guarded.indexer.version += 1
        async with guarded.indexer.changed:
            guarded.indexer.changed.notify_all()
        with pytest.raises(Unauthenticated, match="revoked"):
            await anext(watch)


async def test_the_client_shows_its_key_in_every_call(guarded: Guarded) -> None:
    address = f"127.0.0.1:{guarded.site.gateway.port}"
    key = await guarded.key(*ALL)
    shown: list[str] = []

    def current() -> str:
        shown.append(key)
        return key

    async with AsyncClient(address, key=current, timeout=SECONDS) as client:
        assert (await client.search("where is the tower?")).passages
        await client.upsert([document("a", "text")])
        assert (await client.get("a")).document.id == "a"
        assert (await client.status()).corpus_version == 1
        replies = [reply async for reply in client.ask_many(["who built the tower?"])]
        assert [reply.failure for reply in replies] == [None]
    assert len(shown) == 5
    async with AsyncClient(address, timeout=SECONDS) as stranger:
        with pytest.raises(Unauthenticated, match="REALM_API_KEY"):
            await stranger.search("where is the tower?")


async def test_the_indexer_never_sees_a_caller_s_key(guarded: Guarded) -> None:
    address = f"127.0.0.1:{guarded.site.gateway.port}"
    key = await guarded.key(Scope.WRITE)
    async with AsyncClient(address, key=key, timeout=SECONDS) as client:
        await client.upsert([document("a", "text")])
    assert "authorization" not in guarded.indexer.metadata


async def test_errors_and_refusals_never_name_a_key(guarded: Guarded) -> None:
    key = await guarded.key(Scope.ASK)
    secret = key[23:]
    for method in PUBLIC:
        ended = await guarded.call(method, key)
        assert ended is None or secret not in ended.message + str(ended.details), method
    wrong = await guarded.call(PUBLIC[0], key[:-1])
    assert wrong is not None
    assert secret[:-1] not in wrong.message


async def test_known_keys_count_while_the_store_is_away(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await guarded.key(Scope.ASK)
    ring = guarded.site.gateway._key_ring
    assert ring is not None
    looks = 0

    def away(prefix: str) -> list[str]:
        nonlocal looks
        looks += 1
        raise DependencyUnavailable("the store is away")

    monkeypatch.setattr(guarded.site.world.store._files, "files", away)
    await until(lambda: looks > 2, "looks at a store that is away")
    address = f"127.0.0.1:{guarded.site.gateway.port}"
    async with AsyncClient(address, key=key, timeout=SECONDS) as client:
        assert (await client.search("where is the tower?")).passages


async def test_a_key_does_not_travel_in_plaintext_to_another_machine() -> None:
    with pytest.raises(InvalidInput, match="plaintext"):
        AsyncClient("realm.example:50051", key="realm_x")
    async with AsyncClient("realm.example:50051", key="realm_x", insecure=True):
        pass


async def test_a_missing_document_is_missing_for_whoever_may_read(guarded: Guarded) -> None:
    address = f"127.0.0.1:{guarded.site.gateway.port}"
    async with AsyncClient(address, key=await guarded.key(Scope.ASK), timeout=SECONDS) as client:
        with pytest.raises(NotFound):
            await client.get("nowhere")

"""Both clients against a real gateway (tiny models) and an indexer in memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from realm.client import AsyncClient, Client, document
from realm.client.requests import BATCH_BYTES, BATCH_DOCUMENTS, batches
from realm.client.wire import dial
from realm.errors import (
    DeadlinePassed,
    DependencyUnavailable,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    NotReady,
)
from realm.records.store import Store
from realm.v1 import corpus_pb2, index_pb2, retrieval_pb2, types_pb2
from tests.tls import ingress, write_certificate
from tests.unit.client.clients import BOTH
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import NOWHERE, MemorySearch, Site, World, running

QUESTION = "who built the tower"
#: No answer takes longer; a test that waits for one that does not come ends.
PATIENCE = 20


class Place:
    """A gateway and an indexer; `address` is the gateway's."""

    def __init__(self, site: Site, indexer: MemoryIndexer) -> None:
        self.site = site
        self.indexer = indexer
        self.address = f"127.0.0.1:{site.gateway.port}"


@pytest.fixture
async def place(tmp_path: Any) -> AsyncIterator[Place]:
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    async with (
        running_indexer() as (indexer, address),
        running(world, indexer_url=address) as site,
    ):
        await site.serves(first)
        yield Place(site, indexer)


@BOTH
async def test_a_generation_is_asked_by_its_number(place: Place, kind: Any) -> None:
    async with kind(place.address, timeout=PATIENCE) as client:
        found = await client.search(QUESTION, generation=1)
        assert found.index_version.generation == 1
        assert (await client.ask(QUESTION, generation=1)).index_version.generation == 1
        many = client.search_many([QUESTION, QUESTION], generation=7)
        assert {type(each.failure) async for each in many} == {NotFound}
        with pytest.raises(NotFound) as error:
            await client.ask(QUESTION, generation=7)
        assert error.value.details["available"] == "1"
        with pytest.raises(InvalidInput, match="generation"):
            await client.search(QUESTION, generation=-1)


@BOTH
async def test_every_call_reaches_the_service(place: Place, kind: Any) -> None:
    async with kind(place.address, timeout=PATIENCE) as client:
        written = await client.upsert([document("a", "text", title="t", metadata={"k": "v"})])
        assert written.corpus_version == 1
        got = await client.get("a")
        assert got.document == document("a", "text", title="t", metadata={"k": "v"})
        assert (await client.delete(["a"])).corpus_version == 2
        found = await client.search(QUESTION, limit=2)
        assert (len(found.passages), found.index_version.generation) == (2, 1)
        answered = await client.ask(QUESTION, answers=2)
        assert len(answered.answers) == 2
        replies = [each async for each in client.ask_many([QUESTION, " ", "paris"])]
        first, empty, last = sorted(replies, key=lambda reply: int(reply.number))
        assert [first.question, empty.question, last.question] == [QUESTION, " ", "paris"]
        assert empty.answer is None
        assert "empty" in empty.error
        assert first.answer.answers[0].text == answered.answers[0].text
        watched = await anext(client.watch())
        assert (await client.status()).newest_snapshot.number == watched.newest_snapshot.number == 3
        assert [each.generation for each in await client.generations(limit=1)] == [2]
        await client.refresh(reason="why not")
        assert place.indexer.refreshes == ["why not"]
        assert (await client.pause()).paused
        assert not (await client.pause(False)).paused
        with pytest.raises(NotFound, match="no document a"):
            await client.get("a")
        with pytest.raises(FailedPrecondition):
            await client.roll_back()
        with pytest.raises(InvalidInput) as caught:
            await client.search("")
        assert caught.value.details["field"] == "question"


@BOTH
async def test_a_message_that_is_there_is_sent_as_it_is(place: Place, kind: Any) -> None:
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, limit=2)
    more = {"metadata": lambda: [("x-request-id", "mine")]}
    async with kind(place.address, timeout=PATIENCE, **more) as client:
        assert len((await client.call(request)).passages) == 2
        written = await client.call(corpus_pb2.DeleteDocumentsRequest(document_ids=["a"]))
        assert written.corpus_version == 1
        assert place.indexer.metadata["x-request-id"] == "mine"
        for wrong in (index_pb2.WatchIndexRequest(), types_pb2.Document(), "question"):
            with pytest.raises(InvalidInput, match="no method takes"):
                await client.call(wrong)


@BOTH
async def test_import_continues_when_the_service_comes_back(place: Place, kind: Any) -> None:
    documents = [document(str(n), "text") for n in range(2 * BATCH_DOCUMENTS + 1)]
    sizes: list[int] = []

    def on_written(count: int) -> None:
        sizes.append(count)
        # More failures than the channel's and the gateway's own retries cover.
        place.indexer.fault = NotReady("this indexer is a standby")
        place.indexer.failures = 20 if len(sizes) == 1 else 0

    async with kind(place.address, timeout=PATIENCE) as client:
        total = await client.import_documents(iter(documents), on_written=on_written)
    assert sizes == [BATCH_DOCUMENTS, BATCH_DOCUMENTS, 1]
    assert (total.documents_written, total.corpus_version) == (len(documents), 3)
    assert len(place.indexer.documents) == len(documents)


ASK_BOTH_WAYS = """
import asyncio, sys
from realm.client import AsyncClient, Client
address = sys.argv[1]
with Client(address) as client:
    print(client.search("who built the tower").passages[0].passage.document_id)
async def main():
    async with AsyncClient(address) as client:
        print((await client.search("who built the tower")).passages[0].passage.document_id)
asyncio.run(main())
"""


async def test_https_address_is_asked_through_tls(place: Place, tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path)
    async with ingress(certificate, place.address) as port:
        # gRPC reads the authorities once a process.
        asker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASK_BOTH_WAYS, f"https://localhost:{port}"),
            env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, failed = await asyncio.wait_for(asker.communicate(), 60)
    assert asker.returncode == 0, failed.decode()
    async with AsyncClient(place.address, timeout=PATIENCE) as client:
        found = (await client.search(QUESTION)).passages[0].passage.document_id
    assert said.decode().split() == [found, found]


@pytest.mark.parametrize(
    ("address", "target", "secure"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("dns:///realm:50051", "dns:///realm:50051", False),
        ("http://realm:80", "realm:80", False),
        ("https://realm.example", "realm.example:443", True),
        ("https://realm.example:8443", "realm.example:8443", True),
        ("https://[::1]", "[::1]:443", True),
    ],
)
def test_scheme_says_whether_a_channel_is_secure(address: str, target: str, secure: bool) -> None:
    found, credentials = dial(address)
    assert (found, credentials is not None) == (target, secure)


@BOTH
async def test_an_unreachable_gateway_is_named(kind: Any) -> None:
    async with kind(NOWHERE, timeout=5) as client:
        with pytest.raises(DependencyUnavailable, match=f"the gateway at {NOWHERE}"):
            await client.status()
        with pytest.raises(DependencyUnavailable):
            await anext(client.watch())


@BOTH
async def test_deadline_is_kept(place: Place, kind: Any) -> None:
    place.site.world.search.gate = asyncio.Event()
    async with kind(place.address, timeout=0.2) as client:
        with pytest.raises(DeadlinePassed):
            await client.search(QUESTION)


@BOTH
async def test_abandoned_watch_ends_its_call(place: Place, kind: Any) -> None:
    async with kind(place.address) as client:
        watch = client.watch()
        await anext(watch)
        await watch.aclose()
    async with asyncio.timeout(PATIENCE):
        while not place.site.value(
            "grpc_server_handled_total",
            grpc_type="server_stream",
            grpc_service="realm.v1.IndexService",
            grpc_method="WatchIndex",
            grpc_code="Canceled",
        ):
            await asyncio.sleep(0.01)


def test_batches_are_bounded_in_count_and_size_and_keep_everything() -> None:
    documents = [document(str(n), "x" * (n % 7) * 100_000 + "y") for n in range(450)]
    made = list(batches(iter(documents)))
    assert [each.id for batch in made for each in batch.documents] == [d.id for d in documents]
    assert len({batch.request_id for batch in made}) == len(made)
    for batch in made:
        assert len(batch.documents) <= BATCH_DOCUMENTS
        assert len(batch.documents) == 1 or batch.ByteSize() < BATCH_BYTES + 10_000


def test_documents_too_large_together_are_named_before_anything_is_sent() -> None:
    large = [document(str(n), "x" * (6 << 20)) for n in range(3)]
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidInput, match="import_documents"):
        client.upsert(large)
    assert [len(each.documents) for each in batches(large)] == [1, 1, 1]

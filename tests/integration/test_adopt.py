"""`realm adopt`: a collection made by qdrant-client alone becomes documents, through a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from qdrant_client import QdrantClient, models
from structlog.testing import capture_logs

from realm.records.store import Store
from tests.congruence.edge_server import connect
from tests.unit.cli.conftest import Shell, _shell
from tests.unit.gateway.site import MemorySearch, World

NAME = "theirs"
SIZE = 4
FIELDS = ("--text", "body", "--id", "meta.key", "--title", "heading")


@pytest.fixture
async def realm(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, qdrant_url: str
) -> AsyncIterator[Shell]:
    monkeypatch.setenv("REALM_QDRANT_URL", qdrant_url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    with capture_logs():
        async with _shell(world, first, capsys) as shell:
            yield shell


@pytest.fixture
def client(qdrant_url: str) -> QdrantClient:
    address = urlsplit(qdrant_url)
    return connect(address.hostname or "", address.port or 0)


def fill(client: QdrantClient, count: int) -> None:
    with closing(client):
        size = models.VectorParams(size=SIZE, distance=models.Distance.DOT)
        client.create_collection(NAME, vectors_config={"theirs": size})
        for start in range(0, count, 1_000):
            numbers = range(start, min(start + 1_000, count))
            client.upsert(NAME, [point(number) for number in numbers])


def point(number: int) -> models.PointStruct:
    payload = {
        "body": f"The text of number {number}.",
        "heading": f"Number {number}",
        "meta": {"key": f"doc-{number}", "year": 1900 + number % 100},
        "tags": ["old", "new"],
        "draft": False,
    }
    return models.PointStruct(id=number, vector={"theirs": [1.0] * SIZE}, payload=payload)


@pytest.mark.parametrize("count", [1_500, pytest.param(30_000, marks=pytest.mark.slow)])
async def test_every_point_becomes_a_document_with_its_fields(
    realm: Shell, client: QdrantClient, count: int
) -> None:
    await asyncio.to_thread(fill, client, count)
    ended = await realm("adopt", NAME, *FIELDS, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["points"], told["without_text"], told["ended"]) == (count, 0, True)
    assert len(realm.indexer.documents) == count
    found = realm.indexer.documents["doc-7"]
    assert (found.title, found.text) == ("Number 7", "The text of number 7.")
    assert dict(found.metadata) == {"meta.year": "1907", "tags": "old, new", "draft": "false"}


async def test_a_run_that_broke_off_goes_on_where_it_was(
    realm: Shell, client: QdrantClient
) -> None:
    await asyncio.to_thread(fill, client, 1_000)
    ended = await realm("adopt", NAME, *FIELDS, "--most", "300", "--json")
    assert json.loads(ended.out)["points"] == 512, "whole pages"
    first, realm.indexer.documents = realm.indexer.documents, {}
    assert json.loads((await realm("adopt", NAME, *FIELDS, "--json")).out)["points"] == 1_000
    second = realm.indexer.documents
    assert len(first) + len(second) == 1_000
    assert not first.keys() & second.keys()
    # Once at the end, it begins anew: what was written there since is taken too.
    assert json.loads((await realm("adopt", NAME, *FIELDS, "--json")).out)["points"] == 1_000


async def test_another_command_goes_on_from_nowhere(realm: Shell, client: QdrantClient) -> None:
    await asyncio.to_thread(fill, client, 600)
    await realm("adopt", NAME, *FIELDS, "--most", "300", "--json")
    ended = await realm("adopt", NAME, "--text", "heading", "--json")
    assert json.loads(ended.out)["points"] == 600
    assert {f"{number}" for number in range(600)} <= realm.indexer.documents.keys()


async def test_points_without_a_text_are_counted_and_without_an_id_refused(
    realm: Shell, client: QdrantClient
) -> None:
    await asyncio.to_thread(fill, client, 3)
    ended = await realm("adopt", NAME, "--text", "body", "--id", "nothing")
    assert ended.code == 1
    assert "no 'nothing'" in ended.err
    ended = await realm("adopt", NAME, "--text", "nothing", "--from-the-start")
    assert "3 have no text in 'nothing'" in ended.out
    assert not realm.indexer.documents


async def test_by_default_the_point_s_own_id_names_the_document(
    realm: Shell, client: QdrantClient
) -> None:
    await asyncio.to_thread(fill, client, 2)
    await realm("adopt", NAME, "--text", "body", "--metadata", "heading")
    assert realm.indexer.documents.keys() == {"0", "1"}
    assert dict(realm.indexer.documents["1"].metadata) == {"heading": "Number 1"}


async def test_a_collection_that_is_not_there_is_named(realm: Shell) -> None:
    ended = await realm("adopt", "nobodys", "--text", "body")
    assert ended.code == 1
    assert "nobodys" in ended.err

"""What a user has seen goes with him: no gateway shows him less."""

from __future__ import annotations

from typing import Any

import pytest

from realm.client import Session, document
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import NotReady
from realm.records.store import Store
from tests.unit.client.clients import BOTH
from tests.unit.client.test_client import PATIENCE, QUESTION, Place, place

__all__ = ["place"]


@BOTH
async def test_a_session_knows_what_was_written_and_shown(place: Place, kind: Any) -> None:
    session = Session()
    async with kind(place.address, timeout=PATIENCE, session=session) as client:
        found = await client.search(QUESTION)
        assert session.seen == found.index_version.corpus_version > 0
        await client.upsert([document("a", "text")])
        written = await client.upsert([document("a", "another text")])
        assert session.seen == written.corpus_version > found.index_version.corpus_version
        gone = await client.delete(["a"])
        assert session.seen == gone.corpus_version > written.corpus_version


@BOTH
async def test_a_gateway_that_knows_less_does_not_answer_until_it_knows(
    place: Place, kind: Any
) -> None:
    session = Session()
    async with kind(place.address, timeout=1, session=session) as other:
        version = (await other.search(QUESTION)).index_version.corpus_version + 1
        write_upto(place.site.world.store, version)
        session.note(version)
        for call in (other.search, other.ask):
            with pytest.raises(NotReady, match=f"corpus version {version} is not in the index"):
                await call(QUESTION)
        (reply,) = [each async for each in other.ask_many([QUESTION], timeout=1)]
        assert isinstance(reply.failure, NotReady)
    async with kind(place.address, timeout=PATIENCE) as forgetful:
        assert (await forgetful.search(QUESTION)).passages
    generation = place.site.serving
    place.site.world.generations.record_applied(generation, version)
    async with kind(place.address, timeout=PATIENCE, session=session) as patient:
        found = await patient.search(QUESTION)
        assert found.index_version.corpus_version == version


def write_upto(store: Store, version: int) -> None:
    """Somebody writes: the version is one that may be asked for."""
    table = CorpusTable(store)
    while table.version < version:
        table.append([Change("a", Document("a", "", "text"), f"r{table.version}")])


def test_a_session_never_forgets() -> None:
    session = Session(seen=5)
    session.note(3)
    assert session.seen == 5

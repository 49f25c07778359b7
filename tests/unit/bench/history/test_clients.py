"""Recorded clients against a real gateway: what they did and what came back is in the history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.documents import REVISION
from bench.history.clients import BlockingRecordedClient, Identity, RecordedClient
from bench.history.events import Kind, Need, Outcome, Revision, Seen
from bench.history.history import read_history
from bench.history.recorder import Recorder
from realm.client import AsyncClient, Client, Session
from realm.corpus.documents import Document
from realm.errors import RealmError
from tests.unit.client.test_client import PATIENCE, QUESTION, Place, place

__all__ = ["place"]

A = Document("a", "a", "text of a", {REVISION: "3"})
SOUGHT = Revision("g1-0", 0)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "history.jsonl") as made:
        yield made


async def test_what_a_client_did_and_what_came_back_is_recorded(
    place: Place, recorder: Recorder
) -> None:
    made = AsyncClient(place.address, timeout=PATIENCE)
    client = RecordedClient(Identity(recorder, "somebody", 1), made)
    number, found = await client.search(QUESTION, SOUGHT, at_least=1, due=5.0)
    await client.ask(QUESTION, SOUGHT, passages=3)
    version = await client.upsert([A])
    assert await client.get("a") == Seen("a", version, 3)
    gone = await client.delete("a")
    assert await client.get("a") is None
    await client.close()

    search, answer, upsert, got, delete, missed = read_history(recorder.file).operations
    assert (search.number, search.sent.client, search.gateway) == (number, "somebody", 1)
    assert (search.sent.due, search.sent.at_least, search.asked) == (5.0, 1, (SOUGHT,))
    assert {each.document for each in search.seen} == {
        each.passage.document_id for each in found.passages
    }
    assert search.needs == {Need.INDEX, Need.LATEST}
    assert answer.kind is Kind.ANSWER
    assert answer.ended.answers is not None
    assert search.origin == answer.origin
    assert search.ended.scores
    assert (upsert.ended.version, upsert.asked) == (version, (Revision("a", 3),))
    assert got.seen == (Seen("a", version, 3),)
    assert (delete.ended.version, delete.asked) == (gone, (Revision("a", None),))
    assert (missed.outcome, missed.seen) == (Outcome.OK, ())
    assert missed.needs == {Need.LEADER}


async def test_a_session_s_reads_are_recorded_with_what_it_has_seen(
    place: Place, recorder: Recorder
) -> None:
    session = Session()
    made = AsyncClient(place.address, timeout=PATIENCE, session=session)
    client = RecordedClient(Identity(recorder, "roaming", 0, session), made)
    await client.search(QUESTION, SOUGHT)
    await client.search(QUESTION, SOUGHT)
    await client.get("nothing")
    await client.close()
    first, second, got = read_history(recorder.file).operations
    assert first.origin is not None
    assert (first.sent.at_least, second.sent.at_least) == (0, first.origin.corpus_version)
    assert got.sent.at_least == 0, "the corpus itself has no version to wait for"
    assert all(each.sent.session for each in (first, second, got))


async def test_a_blocking_client_is_recorded_alike(place: Place, recorder: Recorder) -> None:
    def use() -> None:
        with Client(place.address, timeout=PATIENCE) as made:
            client = BlockingRecordedClient(Identity(recorder, "test"), made)
            client.search(QUESTION, SOUGHT)
            client.upsert([A])
            client.get("a")
            client.delete("a")

    await asyncio.to_thread(use)
    operations = read_history(recorder.file).operations
    assert [each.kind for each in operations] == [Kind.SEARCH, Kind.UPSERT, Kind.GET, Kind.DELETE]
    assert all(each.ok for each in operations)


async def test_a_write_that_nobody_answered_may_have_happened(recorder: Recorder) -> None:
    client = RecordedClient(Identity(recorder, "somebody"), AsyncClient("127.0.0.1:1", timeout=0.5))
    with pytest.raises(RealmError):
        await client.upsert([A])
    with pytest.raises(RealmError):
        await client.get("a")
    await client.close()
    upsert, got = read_history(recorder.file).operations
    assert (upsert.outcome, got.outcome) == (Outcome.MAYBE, Outcome.FAILED)

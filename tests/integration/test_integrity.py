"""What gateways search is whole, or is made again: with real Redis, Qdrant Edge, Celery, Delta."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException

from realm.errors import FailedPrecondition
from realm.records.controls import damage_of, damaged
from realm.records.states import State
from realm.records.store import Store
from realm.search.qdrant.index import QdrantIndex
from realm.search.vector_index import VectorIndex
from tests.integration.indexing import Bench, bench_settings, document
from tests.integration.redis_process import RedisProcess

DOCUMENTS = [document(number) for number in range(60)]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Generation 1 is live, with writes of all kinds since; one worker serves both queues."""
    bench = make_bench()
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    bench.write([document(950), document(6, edition=1)])
    bench.until_applied(bench.delete("document-8"))
    return bench


def expect_healed(bench: Bench, generation: int, points: int) -> None:
    bench.until_live(generation)
    assert bench.count(generation) == points
    assert bench.documents_found(document(950).text)[0] == "document-950"
    assert bench.documents_found(document(6, edition=1).text)[0] == "document-6"
    assert "document-8" not in bench.documents_found(DOCUMENTS[8].text)
    bench.until(lambda: bench.indexer.index.alias() == f"passages-{generation:08d}", "the alias")


def test_a_lost_collection_is_made_again_under_another_name_and_without_embedding(
    bench: Bench,
) -> None:
    points = bench.count(1)
    bench.stop_workers()
    bench.lose_collection(1)
    bench.until(lambda: damage_of(bench.store, 1) == "its collection is gone", "it is noted")
    expect_healed(bench, 2, points)
    assert not bench.indexer.index.exists("passages-00000001"), "refilled in place"
    assert bench.indexer.generations.get(2).snapshot == bench.indexer.generations.get(1).snapshot
    bench.until(
        lambda: bench.indexer.generations.state(1) is State.RETIRED, "nobody goes back to it"
    )


def test_lost_points_are_noticed_and_made_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = bench.count(1)
    bench.stop_workers()
    # Samples would find it too.
    monkeypatch.setattr(bench.indexer.integrity, "sample", lambda generation: "")
    bench.lose_points(1, *(f"document-{number}" for number in range(0, 60, 3) if number != 6))
    bench.until(lambda: "points, its files" in damage_of(bench.store, 1), "it is noted")
    status = bench.indexer.status.now()
    if bench.live() == 1:
        assert (status.live.damaged, status.live.corpus_version) == (True, 0)
        assert "points, its files" in status.damage
    expect_healed(bench, 2, points)
    status = bench.indexer.status.now()
    assert (status.damage, status.live.damaged) == ("", False)
    assert status.live.corpus_version == status.corpus_version


def client_of(bench: Bench) -> QdrantClient:
    """The one that the indexer uses."""
    index = bench.indexer.index
    assert isinstance(index, QdrantIndex)
    return index._qdrant.look(lambda client: client)


def test_points_that_changed_are_found_by_samples(bench: Bench) -> None:
    """Their number is right: a volume of yesterday, a late write of a peer that woke."""
    points = bench.count(1)
    names = {hit.passage.passage_id for each in DOCUMENTS for hit in bench.search(each.text)}
    size = bench.indexer.generations.get(1).vector_size
    other = {"dense": np.ones(size).tolist()}
    about = {"document_id": "another", "document_version": 1}
    strange = [models.PointStruct(id=name, vector=other, payload=about) for name in names]
    client_of(bench).upsert("passages-00000001", strange, wait=True)
    assert bench.count(1) == points
    bench.until(lambda: "points compared are not those of" in damage_of(bench.store, 1), "noted")
    expect_healed(bench, 2, points)


def test_live_is_made_again_while_refreshing_is_paused_and_a_newer_snapshot_waits(
    bench: Bench,
) -> None:
    bench.publish(step=40)
    bench.until_live(2)
    assert bench.indexer.committer.roll_back("worse answers", timeout=30) == 1
    bench.until_live(1)
    bench.publish(step=80)
    points = bench.count(1)
    bench.lose_points(1, "document-3")
    expect_healed(bench, 3, points)
    generations = bench.indexer.generations
    assert generations.get(3).snapshot == generations.get(1).snapshot
    assert bench.indexer.controls.paused()
    # What was retained still is: the damaged one is nothing to go back to.
    bench.until(lambda: generations.state(1) is State.RETIRED, "the damaged one goes")
    assert generations.state(2) is State.RETAINED
    assert bench.indexer.committer.roll_back("after all", timeout=30) == 2


def test_a_damaged_retained_one_is_retired_and_a_rollback_says_so(bench: Bench) -> None:
    bench.publish(step=40)
    bench.until_live(2)
    bench.lose_points(1, "document-3")
    bench.until(lambda: bench.indexer.generations.state(1) is State.RETIRED, "it is retired")
    with pytest.raises(FailedPrecondition, match="generation 1 was damaged"):
        bench.indexer.committer.roll_back("worse answers", timeout=30)
    assert bench.live() == 2
    assert damaged(bench.store) == {1}


def test_a_missing_changes_file_hides_no_lost_points(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many points there should be is unknown then; samples are compared all the same."""
    bench.stop_workers()
    fingerprint = bench.indexer.generations.get(1).fingerprint
    bench.store.delete_folder(f"passages/{fingerprint}/changes")
    counts = bench.indexer.integrity.counts
    # It may be certain already.
    monkeypatch.setattr(type(counts), "compare", lambda self, newest: None)
    counts.recount = 1
    bench.lose_points(1, *(f"document-{number}" for number in range(0, 60, 2) if number != 6))
    bench.until(lambda: "points compared" in damage_of(bench.store, 1), "it is noted")


def test_what_a_killed_indexer_left_half_done_is_no_damage(bench: Bench) -> None:
    """Half of a step is in the collection; its successor does the step again."""
    bench.stop_workers()
    bench.indexer.applier.stop()
    version = bench.write([document(3, edition=1), document(7, edition=1)])
    bench.lose_points(1, "document-3")  # as the step's first half would
    bench.start_worker()
    bench.restart_indexer()
    bench.until_applied(version)
    counts = bench.indexer.integrity.counts
    bench.until(lambda: counts._of(1).certain, "the points are counted, and right")
    assert damaged(bench.store) == frozenset()
    assert bench.live() == 1


def test_what_is_searched_is_never_dropped(bench: Bench) -> None:
    index = bench.indexer.index
    for refused in (
        partial(index.create, "passages-00000001", 8),
        partial(index.drop, "passages-00000001"),
    ):
        with pytest.raises(FailedPrecondition, match="is searched"):
            refused()
    assert bench.count(1) > 0


def test_one_look_that_finds_no_collection_is_no_proof(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One peer's list lags: the collection is neither dropped nor filled nor left unfollowed."""
    lists: Iterator[list[str]] = iter([[]] * 6)
    real = VectorIndex.collections
    monkeypatch.setattr(VectorIndex, "collections", lambda self: next(lists, None) or real(self))
    version = bench.write([document(951)])
    bench.until_applied(version)
    bench.until(lambda: next(lists, "over") == "over", "the lists are asked for")
    assert bench.documents_found(document(951).text)[0] == "document-951"
    assert bench.indexer.generations.numbers() == [1]
    assert damaged(bench.store) == frozenset()


def test_a_full_qdrant_gives_the_candidate_up_and_takes_lives_writes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(bench)
    real, full = client.upsert, [True]

    def upsert(collection: str, *arguments: Any, **more: Any) -> Any:
        if full and collection != "passages-00000001":
            raise ResponseHandlingException(
                OSError("No space left on device: WAL buffer size exceeds")
            )
        return real(collection, *arguments, **more)

    monkeypatch.setattr(client, "upsert", upsert)
    bench.publish(step=40)
    state = bench.indexer.generations.state
    bench.until(lambda: 2 in bench.indexer.generations.numbers(), "a build begins")
    bench.until(lambda: state(2) is State.ABANDONED, "it is given up")
    assert "to make room" in bench.indexer.generations.events(2)[-1].why
    bench.until(lambda: not bench.indexer.index.exists("passages-00000002"), "its room is free")
    bench.until_applied(bench.write([document(952)]))
    assert bench.live() == 1
    full.clear()
    bench.until(lambda: bench.live() > 1, "there is room: the snapshot is tried again")


def test_points_lost_while_loading_condemn_no_snapshot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(bench)
    real = client.upsert

    def upsert(collection: str, points: list[models.PointStruct], **more: Any) -> Any:
        lost = collection == "passages-00000002"
        return real(collection, points[:1] if lost else points, **more)

    monkeypatch.setattr(client, "upsert", upsert)
    snapshot = bench.publish(step=40)
    bench.until_live(3)
    generations = bench.indexer.generations
    ended = generations.events(2)[-1]
    assert (ended.state, generations.get(3).snapshot) == (State.ABANDONED, snapshot.number)
    assert "points, the files" in ended.why


def test_two_stores_share_a_qdrant_and_drop_nothing_of_each_other(
    bench: Bench, tmp_path: Path, qdrant_url: str
) -> None:
    points = bench.count(1)
    redis = RedisProcess(tmp_path)
    store = Store.open(str(tmp_path / "another store"))
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", bench_settings(store, redis.url, qdrant_url), store)
    try:
        other.start()
        other.write([document(number) for number in range(3)])
        other.publish(step=1)
        other.until_live(2)
        assert other.documents_found(document(1).text)[0] == "document-1"
        assert bench.count(1) == points
        assert bench.live() == 1
    finally:
        other.close()
        redis.kill(wipe=False)

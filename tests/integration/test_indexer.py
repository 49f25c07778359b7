"""The indexer with real Redis, Qdrant Edge, Celery and Delta: builds, swaps, writes, faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from realm.errors import RequestIdReused
from realm.records import controls, generations
from realm.records.states import State
from realm.records.vectors import vector_file
from services.indexer.build import builder
from tests.integration.indexing import Bench, document
from tests.integration.redis_process import RedisProcess

DOCUMENTS = [document(number, shared=7) for number in range(80)]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


def test_first_build_goes_live_and_the_second_follows(bench: Bench) -> None:
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    first = bench.indexer.generations.get(1)
    assert len(first.passage_files) > 1
    assert bench.documents_found(DOCUMENTS[7].text)[0] == "document-7"

    bench.publish(step=40)
    bench.until_live(2)
    bench.until(lambda: bench.indexer.index.alias() == "passages-00000002", "alias follows")
    second = bench.indexer.generations.get(2)
    assert second.passage_files == first.passage_files
    assert bench.count(1) == bench.count(2)
    assert bench.indexer.generations.state(1) is State.RETAINED
    report = bench.indexer.generations.events(2)[2].report
    assert report["count"] == report["expected_count"] == bench.count(2)
    assert report["probe_recall@5"] > 0.8


@pytest.fixture
def live_bench(bench: Bench) -> Bench:
    """Generation 1 is live, and one worker serves both queues."""
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    return bench


def hold_shards(bench: Bench) -> None:
    """From now on only changes and probes are embedded: a build cannot end."""
    bench.stop_workers()
    bench.start_worker("realm.delta")


def test_writes_become_visible_in_live(live_bench: Bench) -> None:
    added, edited = document(500), document(3, edition=1)
    version = live_bench.write([added, edited])
    live_bench.until_applied(version)
    assert live_bench.documents_found(added.text)[0] == "document-500"
    found = live_bench.search(edited.text)[0].passage
    assert (found.document_id, found.document_version) == ("document-3", version)
    old = [hit.passage for hit in live_bench.search(DOCUMENTS[3].text)]
    assert all(each.document_version == version for each in old if each.document_id == "document-3")

    gone = live_bench.delete("document-3", "document-unknown")
    live_bench.until_applied(gone)
    assert "document-3" not in live_bench.documents_found(edited.text)


def test_same_request_id_changes_nothing_even_after_a_restart(live_bench: Bench) -> None:
    version = live_bench.write([document(600)], request_id="once")
    assert live_bench.write([document(600)], request_id="once") == version
    live_bench.restart_indexer()
    assert live_bench.write([document(600)], request_id="once") == version
    with pytest.raises(RequestIdReused):
        live_bench.write([document(600, edition=1)], request_id="once")
    assert live_bench.write([document(601)]) == version + 1


def test_writes_during_a_build_are_in_live_and_in_the_new_generation(live_bench: Bench) -> None:
    hold_shards(live_bench)
    live_bench.publish(step=40)
    live_bench.until(lambda: live_bench.indexer.generations.numbers() == [1, 2], "a build begins")
    added, edited = document(700), document(5, edition=1)
    live_bench.write([added, edited])
    version = live_bench.delete("document-9")
    live_bench.until_applied(version)
    assert live_bench.live() == 1
    assert live_bench.documents_found(added.text)[0] == "document-700"
    assert "document-9" not in live_bench.documents_found(DOCUMENTS[9].text)

    live_bench.start_worker()
    live_bench.until_live(2)
    assert live_bench.documents_found(added.text)[0] == "document-700"
    assert live_bench.documents_found(edited.text)[0] == "document-5"
    assert "document-9" not in live_bench.documents_found(DOCUMENTS[9].text)
    assert live_bench.count(1) == live_bench.count(2)


def test_deletes_do_not_come_back_with_the_next_generations(live_bench: Bench) -> None:
    live_bench.delete(*[f"document-{number}" for number in range(0, 80, 2)])
    for step in (40, 80):
        live_bench.publish(step=step)
        live_bench.until_live(1 + step // 40)
        for number in range(0, 80, 8):
            found = live_bench.documents_found(DOCUMENTS[number].text)
            assert found
            assert all(int(each.removeprefix("document-")) % 2 for each in found)


def test_steady_writes_do_not_keep_a_candidate_from_going_live(live_bench: Bench) -> None:
    live_bench.publish(step=40)
    written = 0
    while live_bench.live() == 1:
        assert written < 400, "the candidate is starved"
        live_bench.write([document(1000 + written)])
        written += 1
    assert live_bench.indexer.generations.applied(2) >= live_bench.indexer.generations.applied(1)
    version = live_bench.write([document(2000)])
    live_bench.until_applied(version)
    live_bench.until(lambda: live_bench.count(1) == live_bench.count(2), "the retained one follows")
    last = document(1000 + written - 1)
    assert live_bench.documents_found(last.text)[0] == last.id


def test_damaged_vectors_are_made_again(live_bench: Bench) -> None:
    hold_shards(live_bench)
    snapshot = live_bench.publish(step=40)
    live_bench.until(lambda: live_bench.indexer.generations.numbers() == [1, 2], "a build begins")
    files = live_bench.indexer.generations.get(2).passage_files
    own, other = (vector_file(snapshot.name, path) for path in files[:2])
    live_bench.store.write(own, b"not an Arrow file")
    # Whole and well-formed, but of another shard's passages.
    first = vector_file(live_bench.indexer.snapshots.get(1).name, files[0])
    live_bench.store.write(other, live_bench.store.read(first))
    live_bench.start_worker()
    live_bench.until_live(2)
    assert live_bench.documents_found(DOCUMENTS[1].text)[0] == "document-1"
    generations = live_bench.indexer.generations
    live_bench.until(lambda: generations.state(2) is State.LIVE, "its events say so too")
    report = generations.events(2)[2].report
    assert report["sample_mismatches"] == 0


def test_rejected_candidate_keeps_live_and_does_not_block_the_next(live_bench: Bench) -> None:
    live_bench.publish(step=40, quality="bad")
    state = live_bench.indexer.generations.state
    live_bench.until(lambda: 2 in live_bench.indexer.generations.numbers(), "a build begins")
    live_bench.until(lambda: state(2) is State.REJECTED, "the gate refuses")
    assert live_bench.live() == 1
    event = live_bench.indexer.generations.events(2)[-1]
    assert "probe recall@5 fell" in event.why
    assert event.report["probe_recall@5"] < event.report["live_probe_recall@5"]

    live_bench.publish(step=80)
    live_bench.until_live(3)
    assert live_bench.indexer.generations.numbers() == [1, 2, 3]
    assert state(1) is State.RETAINED


def test_rollback_loses_no_write_and_pauses_refresh(live_bench: Bench) -> None:
    live_bench.publish(step=40)
    live_bench.until_live(2)
    live_bench.write([document(900)])
    version = live_bench.delete("document-4")
    live_bench.until_applied(version)
    assert live_bench.indexer.committer.roll_back("worse answers", timeout=30) == 1
    assert live_bench.live() == 1
    assert live_bench.applied() >= version
    assert live_bench.documents_found(document(900).text)[0] == "document-900"
    assert "document-4" not in live_bench.documents_found(DOCUMENTS[4].text)
    live_bench.until(lambda: live_bench.indexer.index.alias() == "passages-00000001", "alias")
    assert live_bench.indexer.status.now().paused

    live_bench.publish(step=80)
    later = live_bench.write([document(901)])
    live_bench.until_applied(later)
    assert live_bench.indexer.generations.numbers() == [1, 2]
    live_bench.indexer.controls.pause(False, "")
    live_bench.until_live(3)
    assert live_bench.documents_found(document(901).text)[0] == "document-901"


def test_rollback_ends_the_build_under_way(live_bench: Bench) -> None:
    live_bench.publish(step=40)
    live_bench.until_live(2)
    hold_shards(live_bench)
    live_bench.publish(step=80)
    live_bench.until(lambda: 3 in live_bench.indexer.generations.numbers(), "a build begins")
    live_bench.indexer.committer.roll_back("", timeout=30)
    state = live_bench.indexer.generations.state
    live_bench.until(lambda: state(3) is State.ABANDONED, "the build is abandoned")
    live_bench.until(lambda: state(2) is State.RETAINED, "the other one is retained")
    assert live_bench.live() == 1


def test_a_clock_that_is_set_back_stops_no_refresh(
    live_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the next leader ran on another machine, too."""
    bench = live_bench
    behind = SimpleNamespace(time=lambda: time.time() - 3600.0)
    for module in (generations, builder, controls):  # all else: gRPC's deadlines are times of day
        monkeypatch.setattr(module, "time", behind)
    bench.restart_indexer()
    bench.publish(step=40)
    bench.until_live(2)
    bench.indexer.controls.request_refresh("it must be")
    bench.indexer.wake.notify()
    bench.until_live(3)
    assert bench.indexer.generations.state(2) is State.RETAINED


def test_wiped_redis_costs_time_only(live_bench: Bench, redis: RedisProcess) -> None:
    live_bench.stop_workers()
    live_bench.publish(step=40)
    live_bench.until(lambda: redis.client().llen("realm.embed") > 0, "shards are asked for")
    redis.kill(wipe=True)
    version = live_bench.write([document(970)])
    redis.start()
    live_bench.start_worker()
    live_bench.until_live(2)
    live_bench.until_applied(version)
    assert live_bench.documents_found(document(970).text)[0] == "document-970"


def test_a_snapshot_of_an_older_release_is_cut_anew_and_followed(bench: Bench) -> None:
    """Its manifest names a fingerprint that its tokenizer does not give any more."""
    bench.start()
    bench.write(DOCUMENTS[:20])
    snapshot = bench.publish(step=0, fingerprint="0123456789abcdef")
    bench.until_live(1)
    assert bench.indexer.generations.get(1).fingerprint != snapshot.fingerprint
    bench.until_applied(bench.write([document(100)]))
    assert bench.documents_found(document(100).text)[0] == "document-100"

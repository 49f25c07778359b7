"""Rollbacks: in time or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from realm.errors import Conflict, DeadlinePassed, DependencyUnavailable, NotReady
from realm.process.wakeup import Wakeup
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.search.vector_index import open_index
from realm.settings import load_settings
from services.indexer.build.committer import Committer
from services.indexer.context import Records
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create

WAIT = 30.0
NOWHERE = load_settings(redis_url="redis://127.0.0.1:1/0", qdrant_url="http://127.0.0.1:1")


class Site:
    """Generation 2 is live, 1 is retained, both at version 5; 3 is a candidate that is ahead."""

    def __init__(self, store: Store, metrics: IndexerMetrics) -> None:
        self.generations = Generations(store)
        retained = create(store, 1, State.RETAINED, version=5)
        live = create(store, 2, State.LIVE, version=5)
        candidate = create(store, 3, State.VALIDATING, version=5)
        first = self.generations.commit(1, after=None, by="", why="")
        self.generations.commit(2, after=first, by="", why="")
        self.replication = ReplicationState(self.generations)
        self.replication.set_serving({1: retained, 2: live}, live=2)
        self.replication.start_catch_up(candidate, 5)
        self.controls = Controls(store)
        self.index = open_index(NOWHERE)
        self.wakeup = Wakeup(NOWHERE.addresses.redis_url)
        self.committer = Committer(
            Records.of(store), self.index, self.replication, self.wakeup, metrics
        )

    def live(self) -> int:
        entry = self.generations.live()
        assert entry is not None
        return entry.generation


@pytest.fixture
def site(store: Store, metrics: IndexerMetrics) -> Iterator[Site]:
    made = Site(store, metrics)
    yield made
    made.index.close()
    made.wakeup.close()


@contextmanager
def somebody_holds(lock: threading.Condition) -> Iterator[None]:
    """Until the block ends."""
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            assert go.wait(WAIT)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(WAIT)
    try:
        yield
    finally:
        go.set()
        thread.join(WAIT)


def test_a_rollback_whose_time_is_over_is_not_carried_out_later(site: Site) -> None:
    """It waited for the lock as long as it took, and committed then."""
    with ThreadPoolExecutor(1) as thread:
        with somebody_holds(site.replication.lock):
            asked = thread.submit(site.committer.roll_back, "worse", 1.0)
            threading.Event().wait(1.2)
        with pytest.raises(DeadlinePassed, match="nothing was committed"):
            asked.result(WAIT)
    assert site.live() == 2


def test_one_that_comes_too_late_does_not_even_pause(site: Site) -> None:
    with pytest.raises(DeadlinePassed):
        site.committer.roll_back("worse", 0.0)
    assert site.live() == 2
    assert not site.controls.paused()


def test_one_that_cannot_catch_up_in_time_says_so(site: Site) -> None:
    with site.replication.lock:
        site.replication.advance(2, 6)
    with pytest.raises(NotReady, match="does not catch up"):
        site.committer.roll_back("worse", 0.2)
    assert site.live() == 2


def test_a_rollback_sent_again_under_its_request_id_is_carried_out_once(site: Site) -> None:
    assert [site.committer.roll_back("worse", WAIT, "a") for _ in range(3)] == [1, 1, 1]
    assert site.live() == 1
    assert site.committer.roll_back("better after all", WAIT, "b") == 2
    assert site.committer.roll_back("worse", WAIT, "a") == 1, "what it made live"
    assert site.live() == 2


def test_a_rollback_sent_many_times_at_once_is_carried_out_once(site: Site) -> None:
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(site.committer.roll_back, "worse", WAIT, "a") for _ in range(8)]
        assert {each.result(WAIT) for each in asked} == {1}
    assert [each.generation for each in site.generations.live_history()] == [1, 2, 1]


def test_a_rollback_whose_puts_answer_is_lost_took_place(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.create_json

    def create_unanswered(path: str, value: Any) -> None:
        create(path, value)
        if path.startswith("live/"):
            raise DependencyUnavailable("the store does not answer")

    monkeypatch.setattr(store, "create_json", create_unanswered)
    assert site.committer.roll_back("worse", WAIT, "a") == 1
    assert site.committer.roll_back("worse", WAIT, "a") == 1
    assert site.live() == 1


def test_a_rollback_ends_a_validation_at_once(site: Site) -> None:
    """The gate held the lock over hundreds of searches."""
    looks, stuck, go = threading.Event(), threading.Event(), threading.Event()

    def validate() -> None:
        with site.replication.frozen(3):
            looks.set()
            assert go.wait(WAIT)
            site.replication.check_frozen(3)
            stuck.set()

    def apply() -> int | None:
        with site.replication.applying():
            return site.replication.applied(1)

    with ThreadPoolExecutor(2) as threads:
        validation = threads.submit(validate)
        assert looks.wait(WAIT)
        step = threads.submit(apply)
        assert not step.done(), "nothing is applied while the gate looks"
        assert site.committer.roll_back("worse", WAIT) == 1
        assert step.result(WAIT) == 5
        assert not validation.done()
        go.set()
        with pytest.raises(Conflict, match="given up"):
            validation.result(WAIT)
    assert not stuck.is_set()
    assert site.live() == 1


def test_things_move_again_when_the_look_is_over(site: Site) -> None:
    with site.replication.frozen(3):
        site.replication.check_frozen(3)
    with site.replication.applying():
        site.replication.advance(3, 6)
    with pytest.raises(Conflict), site.replication.frozen(1):
        raise AssertionError("1 is not ahead")
    with site.replication.applying():
        site.replication.advance(3, 7)


def test_a_commit_retires_what_no_manifest_tells_of_any_more(site: Site, store: Store) -> None:
    """Who has read it before takes it for retained, and would wait for it to follow every write."""
    reader = Generations(store)
    assert reader.served() == {1, 2}
    store.write("generations/00000001/manifest.json", b"damaged")
    site.committer._generations = Generations(store)
    with site.replication.lock:
        site.replication.advance(3, 5)
    site.committer.commit(site.generations.get(3), instead_of=2, why="refresh")
    assert reader.served() == {2, 3}

"""A leader's two beats: a slow store deposes nobody, a store that takes no beat does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from realm.errors import NotReady
from realm.records.leaders import Leaders
from realm.records.store import Store
from realm.settings import load_settings
from services.indexer.leader.election import (
    LEASE_KEY,
    PATIENT_LEASES,
    Election,
    advertised_address,
)
from tests.integration.redis_process import RedisProcess
from tests.waiting import until

LEASE = 0.4
SECONDS = 30.0


class SlowBeats(Leaders):
    """A store whose puts of beats wait until they are let go."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.go, self.waits = threading.Event(), threading.Event()
        self.go.set()

    def beat(self, number: int, beat: int) -> None:
        if not self.go.is_set():
            self.waits.set()
        assert self.go.wait(SECONDS)
        super().beat(number, beat)


class Pair:
    """A leader at work, and a standby that looks when told to, by a clock of its own."""

    def __init__(self, store: Store, redis: RedisProcess) -> None:
        self.redis = redis.client()
        self.settings = load_settings(redis_url=redis.url, lease_seconds=LEASE)
        self.slept = self.now = 0.0
        self.leader = Election(self.settings, store, lambda: time.monotonic() + self.slept)
        self.puts = self.leader._leaders = SlowBeats(store)
        self.standby = Election(self.settings, store, lambda: self.now, lambda name: False)
        self.standby.by = "another process"
        self.leader.tick()
        self.standby.tick()
        self.leader.start()

    def stick(self) -> None:
        """From now on a put of a beat takes for ever."""
        self.puts.go.clear()
        assert self.puts.waits.wait(SECONDS)

    def standby_looks(self) -> None:
        self.now += LEASE / 3
        self.standby.tick()

    def beat(self) -> object:
        return json.loads(self.redis.get(LEASE_KEY) or b"{}").get("beat")

    def has_beaten_since(self, beat: object) -> bool:
        return self.beat() not in (None, beat)

    def close(self) -> None:
        self.puts.go.set()
        self.leader.stop(resign=False)
        self.standby.stop(resign=False)
        self.redis.close()


@pytest.fixture
def pair(store: Store, tmp_path: Path) -> Iterator[Pair]:
    (tmp_path / "redis").mkdir()
    redis = RedisProcess(tmp_path / "redis")
    made = Pair(store, redis)
    yield made
    made.close()
    redis.kill(wipe=False)


def test_a_put_that_takes_two_leases_deposes_nobody(pair: Pair) -> None:
    pair.stick()
    for _ in range(7):  # of a third of a lease each
        until(partial(pair.has_beaten_since, pair.beat()), "a beat in Redis")
        pair.standby_looks()
    assert not pair.standby.leads
    assert not pair.leader.lost


def test_a_leader_that_cannot_write_is_deposed_when_patience_ends(pair: Pair) -> None:
    pair.stick()
    pair.slept = (PATIENT_LEASES + 1) * LEASE

    def standby_leads() -> bool:
        pair.standby_looks()
        # Longer than between two beats: one that still beats would be heard.
        time.sleep(LEASE / 2)
        return pair.standby.leads

    until(standby_leads, "the standby leads")
    assert pair.standby.term == 2
    pair.puts.go.set()
    until(lambda: pair.leader.lost, "the leader knows that it lost")


def test_beats_end_with_the_term(pair: Pair) -> None:
    pair.leader.stop(resign=True)
    pair.standby_looks()
    assert pair.standby.leads


def cut(record: Path) -> None:
    record.write_bytes(record.read_bytes()[:20])


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_the_record_of_its_term_is_damaged_or_lost_and_the_leader_puts_it_again(
    pair: Pair, store: Store, damage: Callable[[Path], None]
) -> None:
    assert store.root
    before = Leaders(store).newest()
    damage(store.root / "control/leader/000000000001.json")
    until(lambda: Leaders(store).newest() == before, "the record is whole")
    assert pair.leader.leads


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_dead_leader_whose_record_is_damaged_or_lost_has_a_successor(
    pair: Pair, store: Store, damage: Callable[[Path], None]
) -> None:
    pair.leader.stop(resign=False)
    assert store.root
    damage(store.root / "control/leader/000000000001.json")

    def standby_leads() -> bool:
        pair.standby_looks()
        return pair.standby.leads

    until(standby_leads, "the standby leads")
    newest = Leaders(store).newest()
    assert newest
    assert newest.by == pair.standby.by
    assert newest.floor == newest.number, "the one before may be asleep: nobody knows"
    with pytest.raises(NotReady):
        pair.leader.tick()
    assert pair.leader.lost


def test_an_address_without_a_port_gets_that_of_the_server() -> None:
    def told(given: str) -> str:
        return advertised_address(
            load_settings(indexer_advertise=given, indexer_listen="0.0.0.0:50052")
        )

    assert told("10.1.2.3") == "10.1.2.3:50052"
    assert told("indexer-0:7") == "indexer-0:7"
    assert told("") == ""

"""A refresh is followed to the last gateway's flip, also by a leader that did not commit it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.corpus.table import CorpusTable
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.search.vector_index import open_index
from realm.settings import load_settings
from services.indexer.build.build import Build, Memory
from services.indexer.build.lifecycle import REFRESH, Live, Observation
from services.indexer.context import CorpusReader, Records
from services.indexer.gateways import GatewayReport, GatewayReports
from services.indexer.metrics import IndexerMetrics
from services.indexer.report.refreshes import RefreshMonitor
from services.indexer.report.status import phases_of
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create, generation, publish

BUILT = {"phase_queue": 1.0, "phase_embed": 4.0, "phase_load": 2.0}


TTL = 15.0


class Leader:
    """One that just began to lead, by a clock of its own."""

    def __init__(self, store: Store) -> None:
        self.now = 0.0
        self.registry = CollectorRegistry()
        self.generations = Generations(store)
        self.gateways = GatewayReports(TTL, lambda: self.now)
        self.memory = Memory()
        self._monitor = RefreshMonitor(
            Records.of(store),
            open_index(load_settings()),
            CorpusReader(lambda: CorpusTable(store)),
            ReplicationState(self.generations),
            self.gateways,
            self.memory,
            IndexerMetrics(self.registry),
            clock=lambda: self.now,
        )

    def tick(self, after: float = TTL) -> None:
        self.now += after
        live = self.generations.live()
        seen = Live(live.generation, 1, 1, None, live.at) if live else None
        self._monitor.update(
            Observation(
                retirement_seconds=900, newest_snapshot=None, has_documents=True,
                paused=False, refresh_asked=0, live=seen, generations=(), candidate=None,
                qdrant_reachable=False, alias=None,
            )
        )  # fmt: skip

    def ended(self) -> float | None:
        return self.registry.get_sample_value(
            "realm_indexer_refreshes_total", {"outcome": str(State.LIVE)}
        )


@pytest.fixture
def committed(store: Store, tmp_path: Path) -> Generations:
    """Generation 7, made live by a leader that was lost at once."""
    publish(store, tmp_path / "a", 1)
    generations = Generations(store)
    now = time.time()
    generations.create(replace(generation(7), created_at=now))
    generations.record(7, State.VALIDATING, "loaded and caught up", BUILT)
    generations.commit(7, after=None, by="lost", why=REFRESH, term=1)
    return generations


def test_a_new_leader_ends_the_refresh_that_a_lost_one_committed(
    store: Store, committed: Generations
) -> None:
    committed.fence(2, 2, "new")
    leader = Leader(store)
    leader.tick(0.0)
    leader.now = TTL
    leader.gateways.record(GatewayReport("a", 6, ready=True))
    leader.tick(0.0)
    assert leader.memory.flipping is not None
    assert leader.ended() == 0
    leader.gateways.record(GatewayReport("a", 7, ready=True))
    leader.tick(1.0)
    leader.tick(1.0)
    assert leader.ended() == 1
    phases = phases_of(committed.events(7))
    assert {name: phases[name] for name in ("embed", "load")} == {"embed": 4.0, "load": 2.0}


def test_an_ended_refresh_is_not_ended_again(store: Store, committed: Generations) -> None:
    for ended in (1, 0):
        leader = Leader(store)
        leader.tick(0.0)
        leader.tick()
        assert leader.ended() == ended
    assert leader.memory.flipping is None


def test_a_rollback_is_no_refresh(store: Store, committed: Generations) -> None:
    create(store, 8, State.RETAINED)
    committed.commit(8, after=committed.live(), by="a", why="rollback: worse", term=1)
    leader = Leader(store)
    leader.tick(0.0)
    leader.tick()
    assert leader.ended() == 0
    assert leader.memory.flipping is None


def test_who_leads_newly_waits_until_it_has_heard_of_all_gateways(
    store: Store, committed: Generations
) -> None:
    leader = Leader(store)
    leader.gateways.record(GatewayReport("a", 7, ready=True))
    leader.tick(0.0)
    leader.tick(TTL / 2)
    assert leader.memory.flipping is None
    assert leader.ended() == 0


def test_a_commit_whose_answer_was_lost_is_followed_with_what_is_remembered(
    store: Store, committed: Generations
) -> None:
    leader = Leader(store)
    build = Build(committed.get(7), Snapshots(store).get(1))
    build.validated_at = 5.0
    leader.memory.build = build
    leader.tick(0.0)
    leader.now = TTL
    leader.gateways.record(GatewayReport("a", 6, ready=True))
    leader.tick(0.0)
    assert leader.memory.build is None
    assert leader.memory.flipping is build
    leader.gateways.record(GatewayReport("a", 7, ready=True))
    leader.tick(0.0)
    assert leader.ended() == 1

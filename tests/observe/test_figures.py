"""Figures that alerts rest on are set when and as they should be."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.corpus.table import CorpusTable
from realm.process.wakeup import Wakeup
from realm.records.snapshots import Snapshot
from realm.records.states import State
from realm.records.store import Store
from realm.search.vector_index import open_index
from realm.settings import load_settings
from services.indexer.build.build import Memory
from services.indexer.build.lifecycle import Live, Observation
from services.indexer.context import CorpusReader, Records
from services.indexer.gateways import GatewayReports
from services.indexer.metrics import IndexerMetrics
from services.indexer.report.refreshes import RefreshMonitor
from services.indexer.wake import WakeSignal, WakeupListener
from services.indexer.writes.replication import ReplicationState
from tests.integration.redis_process import RedisProcess
from tests.unit.indexer.examples import create, publish
from tests.waiting import until

PREFIX = "realm_indexer_"
WAIT_SECONDS = 10.0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def seen(live: Live, published: tuple[Snapshot, ...]) -> Observation:
    """What the reconciler sees while Qdrant is away."""
    return Observation(
        retirement_seconds=900,
        newest_snapshot=None,
        has_documents=True,
        paused=False,
        refresh_asked=0,
        live=live,
        generations=(),
        candidate=None,
        qdrant_reachable=False,
        alias=None,
        published=published,
    )


def look(store: Store, registry: CollectorRegistry, live: Live) -> None:
    records = Records.of(store)
    RefreshMonitor(
        records,
        open_index(load_settings()),
        CorpusReader(lambda: CorpusTable(store)),
        ReplicationState(records.generations),
        GatewayReports(15.0),
        Memory(),
        IndexerMetrics(registry),
    ).update(seen(live, tuple(records.snapshots.all())))


def test_the_indexers_lag_counts_from_the_oldest_newer_snapshot(
    store: Store, tmp_path: Path, registry: CollectorRegistry
) -> None:
    publish(store, tmp_path / "a", 1)
    older = publish(store, tmp_path / "b", 2)
    publish(store, tmp_path / "c", 4)
    create(store, 7, State.LIVE, snapshot=1)
    look(store, registry, Live(7, 1, 1, None, 1.0))
    value = registry.get_sample_value
    assert value(f"{PREFIX}lagging_since_timestamp_seconds") == older.created_at
    assert value(f"{PREFIX}lag_steps") == 30
    assert value(f"{PREFIX}active_generation") == 7
    assert value(f"{PREFIX}dependency_up", {"dependency": "store"}) == 1
    assert value(f"{PREFIX}dependency_up", {"dependency": "qdrant"}) == 0


def test_an_idle_index_has_no_lag(
    store: Store, tmp_path: Path, registry: CollectorRegistry
) -> None:
    publish(store, tmp_path / "a", 1)
    create(store, 7, State.LIVE, snapshot=1)
    look(store, registry, Live(7, 1, 1, None, 1.0))
    assert registry.get_sample_value(f"{PREFIX}lagging_since_timestamp_seconds") == 0
    assert registry.get_sample_value(f"{PREFIX}lag_steps") == 0


def test_the_listener_knows_whether_redis_is_there(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    redis = RedisProcess(tmp_path / "redis")
    listener = WakeupListener(redis.url, WakeSignal(), lambda: None)
    listener.start()
    try:
        until(lambda: listener.connected, "the listener hears Redis")
        redis.kill(wipe=True)
        until(lambda: not listener.connected, "the listener knows that Redis is gone")
        redis.start()
        until(lambda: listener.connected, "the listener hears Redis")
    finally:
        listener.stop()
        wakeup = Wakeup(redis.url)
        wakeup.send("writes")
        wakeup.close()
        listener.join(WAIT_SECONDS)
        redis.kill(wipe=True)

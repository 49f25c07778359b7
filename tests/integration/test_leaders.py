"""Two indexers over one store: one leads, one stands by, whatever happens to the first."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from realm.client.wire import from_rpc_error
from realm.errors import NotReady
from realm.records.generations import Generations
from realm.records.leaders import Leaders
from realm.records.store import Store
from tests.integration.indexer_process import DEADLINE, IndexerProcess
from tests.integration.indexing import Bench
from tests.integration.redis_process import RedisProcess
from tests.waiting import until

LEASE = 2.0
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def pair(
    monkeypatch: pytest.MonkeyPatch, make_bench: Callable[..., Bench]
) -> Iterator[tuple[IndexerProcess, IndexerProcess]]:
    """The leader and its standby."""
    monkeypatch.setenv("REALM_LEASE_SECONDS", str(LEASE))
    bench = make_bench()
    leader = IndexerProcess(bench)
    until(lambda: serves(leader), "the first leads")
    standby = IndexerProcess(bench)
    try:
        yield leader, standby
    finally:
        for each in (leader, standby):
            each.process.send_signal(signal.SIGCONT)
            each.close()


def serves(process: IndexerProcess, name: str = "") -> bool:
    stub = health_pb2_grpc.HealthStub(process.channel)
    try:
        found = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=2)
    except grpc.RpcError:
        return False
    return bool(found.status == SERVING)


def test_a_standby_says_who_leads_and_takes_over_from_one_that_stops(
    pair: tuple[IndexerProcess, IndexerProcess], store: Store
) -> None:
    leader, standby = pair
    assert not serves(standby)
    assert serves(standby, "able")
    with pytest.raises(grpc.RpcError) as refused:
        standby.write(1)
    error = from_rpc_error(refused.value)
    assert isinstance(error, NotReady)
    assert "term 1" in error.message
    version = leader.write(1)
    leader.process.send_signal(signal.SIGTERM)
    assert leader.process.wait(timeout=DEADLINE) == 0
    assert store.exists("control/leader/000000000001.ended")
    until(lambda: serves(standby), "the standby leads")
    assert standby.write(2) == version + 1
    newest = Leaders(store).newest()
    assert newest is not None
    assert (newest.number, newest.floor) == (2, 0), "it handed on its builds"


def test_a_standby_takes_over_from_one_that_was_killed(
    pair: tuple[IndexerProcess, IndexerProcess], store: Store
) -> None:
    leader, standby = pair
    version = leader.write(1)
    leader.kill()
    until(lambda: serves(standby), "the standby leads")
    assert standby.write(2) == version + 1
    newest = Leaders(store).newest()
    assert newest is not None
    assert (newest.number, newest.floor) == (2, 2), "what it had sent may still arrive"


def test_one_that_wakes_after_its_end_changes_nothing_and_ends(
    pair: tuple[IndexerProcess, IndexerProcess], store: Store
) -> None:
    leader, standby = pair
    bench = leader.bench
    bench.start_worker()
    leader.write(*range(20))
    bench.publish(step=0)
    leader.until("a generation is live", lambda status: status.live.generation == 1)
    leader.process.send_signal(signal.SIGSTOP)
    until(lambda: serves(standby), "the standby leads")
    version = standby.write(100)
    bench.publish(step=1)
    standby.until("the next generation is live", lambda status: status.live.generation == 2)
    leader.process.send_signal(signal.SIGCONT)
    assert leader.process.wait(timeout=DEADLINE) == 1
    assert standby.write(101) == version + 1
    history = Generations(store).live_history()
    assert [entry.term for entry in history] == [1, 2, 2]
    assert [entry.generation for entry in history] == [1, 1, 2]
    newest = Leaders(store).newest()
    assert newest is not None
    assert (newest.number, newest.floor) == (2, 2)


def test_redis_wiped_or_away_makes_nobody_lead(
    pair: tuple[IndexerProcess, IndexerProcess], store: Store, redis: RedisProcess
) -> None:
    leader, standby = pair
    redis.client().flushall()
    version = leader.write(1)
    redis.kill(wipe=True)
    beats = Leaders(store)
    before = int(beats.last_beat(1))
    # Twelve beats are three leases: by then a standby that went by Redis would lead.
    until(lambda: int(beats.last_beat(1)) >= before + 12, "the leader goes on")
    assert beats.newest_number() == 1
    assert leader.write(2) == version + 1
    assert not serves(standby)
    redis.start()
    until(lambda: redis.client().exists("realm:leader") == 1, "the lease is back")

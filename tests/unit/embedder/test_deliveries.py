from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.refusals import is_quarantined, quarantine_file
from realm.store import Store
from services.embedder.deliveries import KEY, Deliveries, quarantine
from services.embedder.tasks import Outcome
from tests.integration.redis_process import RedisProcess
from tests.unit.embedder.conftest import NO_REDIS, World, make_embedder


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    server = RedisProcess(tmp_path / "redis")
    yield server
    server.kill(wipe=True)


@pytest.fixture
def deliveries(redis: RedisProcess) -> Iterator[Deliveries]:
    counted = Deliveries(redis.url)
    yield counted
    counted.close()


def test_starts_in_a_row_are_counted_by_output_and_forgotten_at_an_end(
    deliveries: Deliveries,
) -> None:
    assert [deliveries.started("a"), deliveries.started("a"), deliveries.started("b")] == [1, 2, 1]
    deliveries.ended("a")
    assert [deliveries.started("a"), deliveries.started("b")] == [1, 2]


def test_counts_expire(redis: RedisProcess, deliveries: Deliveries) -> None:
    deliveries.started("a")
    with redis.client() as client:
        assert 0 < client.ttl(f"{KEY}a") <= 24 * 3600


def test_without_redis_nothing_is_counted() -> None:
    deliveries = Deliveries(NO_REDIS)
    assert [deliveries.started("a"), deliveries.started("a")] == [0, 0]
    deliveries.ended("a")
    deliveries.close()


def test_quarantine_says_what_was_quarantined(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    assert not is_quarantined(store, "out")
    quarantine(store, snapshot=7, input_file="in", output_file="out", deliveries=3)
    assert is_quarantined(store, "out")
    assert not is_quarantined(store, "other")
    told = store.read_json(quarantine_file("out"))
    assert {key: told[key] for key in ("snapshot", "input_file", "deliveries")} == {
        "snapshot": 7,
        "input_file": "in",
        "deliveries": 3,
    }


def test_shard_that_never_ended_is_quarantined_and_then_refused(
    world: World, redis: RedisProcess
) -> None:
    embedder = make_embedder(world.store, CollectorRegistry(), redis.url)
    output = world.job.output_file
    for _ in range(embedder.max_deliveries):
        embedder.deliveries.started(output)  # as by workers that died
    assert embedder.embed_shard(world.job) is Outcome.QUARANTINED
    with redis.client() as client:
        client.flushall()
    assert embedder.embed_shard(world.job) is Outcome.QUARANTINED
    assert not world.store.exists(output)
    world.store.delete(quarantine_file(output))
    assert embedder.embed_shard(world.job) is Outcome.DONE


def test_exception_that_nobody_foresaw_stays_counted(world: World, redis: RedisProcess) -> None:
    embedder = make_embedder(world.store, CollectorRegistry(), redis.url)
    file = world.store.root / world.snapshot.folder / "manifest.json"  # type: ignore[operator]
    file.write_text("{}")  # a manifest without its fields: nothing of ours raises this
    with pytest.raises(KeyError):
        embedder.embed_shard(world.job)
    with redis.client() as client:
        assert client.get(f"{KEY}{world.job.output_file}") == b"1"


def test_task_that_ended_is_not_counted(world: World, redis: RedisProcess) -> None:
    embedder = make_embedder(world.store, CollectorRegistry(), redis.url)
    assert embedder.embed_shard(world.job) is Outcome.DONE
    with redis.client() as client:
        assert client.keys(f"{KEY}*") == []

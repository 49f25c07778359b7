from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.process.queue import work_key
from realm.records.failures import quarantine_file
from realm.records.generation import pieces_folder
from realm.records.task_files import piece_files
from services.embedder.claims import HANGS_SECONDS, KEY, WorkClaims
from services.embedder.tasks import Outcome
from tests.integration.redis_process import RedisProcess
from tests.unit.embedder.conftest import NO_REDIS, World, interrupted_by, make_embedder
from tests.waiting import until


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    server = RedisProcess(tmp_path / "redis")
    yield server
    server.kill(wipe=True)


SILENCE = 2.0


@pytest.fixture
def embedders(redis: RedisProcess) -> Iterator[Callable[[], WorkClaims]]:
    """Makes what each of several embedders has; one that dies is closed, and says no more."""
    made = []

    def make(idle: Callable[[], float] = lambda: 0.0) -> WorkClaims:
        made.append(WorkClaims(redis.url, SILENCE, idle))
        made[-1].keep()
        return made[-1]

    yield make
    for each in made:
        each.close()


def begin(embedder: WorkClaims, output: str) -> int | None:
    """How many died of it before; None: another one is at it."""
    return embedder.start() if embedder.claim(output) else None


def dies(embedder: WorkClaims, redis: RedisProcess, output: str) -> None:
    """And its claim lapses, for which nobody waits here."""
    embedder.close()
    with redis.client() as client:
        assert client.delete(work_key(output)) == 1


def lapsed(redis: RedisProcess, output: str) -> None:
    with redis.client() as client:
        until(lambda: not client.exists(work_key(output)), "the claim lapses")


def test_deaths_are_counted_by_output_and_forgotten_at_an_end(
    redis: RedisProcess, embedders: Callable[[], WorkClaims]
) -> None:
    for deaths in range(2):
        dying = embedders()
        assert begin(dying, "a") == deaths
        dies(dying, redis, "a")
    last = embedders()
    assert begin(last, "a") == 2
    last.release()
    assert begin(last, "b") == 0
    last.release()
    assert begin(last, "a") == 0


def test_who_meets_work_that_another_is_at_leaves_and_counts_nothing(
    redis: RedisProcess, embedders: Callable[[], WorkClaims]
) -> None:
    busy, idle = embedders(), [embedders() for _ in range(4)]
    assert begin(busy, "a") == 0
    with redis.client() as client:
        ends = time.monotonic() + 1.5 * SILENCE
        while time.monotonic() < ends:  # longer than a claim that is not renewed
            assert [begin(each, "a") for each in idle] == [None] * 4
        assert client.get(f"{KEY}a") == b"1"
    busy.release()
    assert begin(idle[0], "a") == 0


def test_a_claim_is_made_again_after_redis_was_wiped(
    redis: RedisProcess, embedders: Callable[[], WorkClaims]
) -> None:
    busy, other = embedders(), embedders()
    begin(busy, "a")
    with redis.client() as client:
        client.flushall()
        until(lambda: bool(client.exists(work_key("a"))), "claimed again")
    assert begin(other, "a") is None
    busy.release()
    assert begin(other, "a") == 0


def test_who_hangs_loses_its_claim(
    redis: RedisProcess, embedders: Callable[..., WorkClaims]
) -> None:
    hanging = embedders(lambda: HANGS_SECONDS + 1)
    begin(hanging, "a")
    lapsed(redis, "a")
    assert begin(embedders(), "a") == 1


def test_an_end_does_not_take_the_claim_of_another(
    redis: RedisProcess, embedders: Callable[..., WorkClaims]
) -> None:
    slept, other = embedders(lambda: HANGS_SECONDS + 1), embedders()  # the one is not renewed
    begin(slept, "a")
    with redis.client() as client:
        client.delete(work_key("a"))
    assert begin(other, "a") == 1
    slept.release()
    assert begin(embedders(), "a") is None


def test_counts_expire(redis: RedisProcess, embedders: Callable[[], WorkClaims]) -> None:
    begin(embedders(), "a")
    with redis.client() as client:
        assert 0 < client.ttl(f"{KEY}a") <= 24 * 3600


def test_without_redis_nothing_is_counted() -> None:
    claims = WorkClaims(NO_REDIS, SILENCE)
    assert [begin(claims, "a"), begin(claims, "a")] == [0, 0]
    claims.release()
    claims.close()


def test_shard_that_never_ended_is_quarantined_and_then_refused(
    world: World, redis: RedisProcess, embedders: Callable[[], WorkClaims]
) -> None:
    embedder = make_embedder(world.store, CollectorRegistry(), redis.url)
    output = world.job.output_file
    for _ in range(embedder.max_deliveries):
        dying = embedders()
        assert begin(dying, output) is not None
        dies(dying, redis, output)
    assert embedder.embed_shard(world.job) is Outcome.QUARANTINED
    with redis.client() as client:
        client.flushall()
    assert embedder.embed_shard(world.job) is Outcome.QUARANTINED
    assert not world.store.exists(output)
    world.store.delete(quarantine_file(output))
    assert embedder.embed_shard(world.job) is Outcome.DONE


def test_a_piece_is_quarantined_after_two_deaths(
    world: World, redis: RedisProcess, embedders: Callable[[], WorkClaims]
) -> None:
    """The indexer divides it, and tries again what it comes down to."""
    folder = f"{pieces_folder(world.job.generation)}/x"
    source, output = piece_files(folder, world.snapshot.fingerprint, "a")
    world.store.write(source, world.store.read(world.job.input_file))
    job = dataclasses.replace(world.job, input_file=source, output_file=output)
    embedder = make_embedder(world.store, CollectorRegistry(), redis.url)
    for _ in range(2):
        dying = embedders()
        begin(dying, job.output_file)
        dies(dying, redis, job.output_file)
    assert embedder.embed_changes(job) is Outcome.QUARANTINED
    world.store.delete(quarantine_file(job.output_file))
    assert embedder.embed_changes(job) is Outcome.DONE


def test_exception_that_nobody_foresaw_stays_counted(
    world: World, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = make_embedder(world.store, CollectorRegistry(), redis.url)
    monkeypatch.setattr(embedder.encoders.snapshots, "get", {}.__getitem__)
    with pytest.raises(KeyError):
        embedder.embed_shard(world.job)
    with redis.client() as client:
        assert client.get(f"{KEY}{world.job.output_file}") == b"1"


def test_a_slow_shard_is_neither_done_twice_nor_quarantined_by_idle_workers(
    world: World, redis: RedisProcess
) -> None:
    """The same task is delivered four times more, while its embedder takes longer than a claim."""
    others = [
        make_embedder(world.store, CollectorRegistry(), redis.url, silence=SILENCE)
        for _ in range(4)
    ]
    met: list[Outcome] = []

    def time_passes() -> None:
        ends = time.monotonic() + 1.5 * SILENCE
        while len(met) < 8 or time.monotonic() < ends:
            met.extend(other.embed_shard(world.job) for other in others)

    slow = interrupted_by(
        make_embedder(world.store, CollectorRegistry(), redis.url, silence=SILENCE), time_passes
    )
    assert slow.embed_shard(world.job) is Outcome.DONE
    assert set(met) == {Outcome.ELSEWHERE}
    assert not world.store.files("quarantine")
    with redis.client() as client:
        assert client.keys("realm:*") == []

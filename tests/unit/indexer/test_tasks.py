from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from realm.errors import DependencyUnavailable
from realm.process.queue import ASKED_AT, DELTA_QUEUE, EMBED_CHANGES, EMBED_QUEUE, EMBED_SHARD
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.settings import load_settings
from services.embedder.claims import WorkClaims
from services.indexer.metrics import IndexerMetrics
from services.indexer.tasks import OutstandingTasks, TaskRequest, TaskSender, make_sender, task_for
from tests.integration.redis_process import RedisProcess
from tests.ports import free_port
from tests.unit.indexer.examples import Clock, create, generation

WANT = task_for(EMBED_SHARD, generation(4, snapshot=7), "in", "out")
AGAIN = 60.0
DAY = 24 * 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    server = RedisProcess(tmp_path / "redis")
    yield server
    server.kill(wipe=True)


@pytest.fixture
def client(redis: RedisProcess) -> Iterator[Redis]:
    with redis.client() as client:
        yield client


@pytest.fixture
def leader(redis: RedisProcess, clock: Clock, store: Store) -> Iterator[Callable[[], TaskSender]]:
    """Makes a leader's tasks, over the same Redis as those of the leaders before it."""
    create(store, 4, State.BUILDING)
    outstanding = []
    with make_sender(load_settings(redis_url=redis.url)) as app:

        def make() -> TaskSender:
            held = OutstandingTasks(redis.url, Generations(store).is_active, clock)
            outstanding.append(held)
            return TaskSender(app, held, AGAIN, IndexerMetrics(CollectorRegistry()), clock)

        yield make
        for each in outstanding:
            each.close()


def ask_until(tasks: TaskSender, clock: Clock, until: float, *wants: TaskRequest) -> int:
    """As the reconciler does, every 30 s; returns how often a task was sent."""
    sent = 0
    while clock.now < until:
        sent += sum(tasks.send(each) for each in wants)
        clock.now += 30.0
    return sent


def test_without_a_worker_the_queue_holds_a_day_later_what_is_wanted_once(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis
) -> None:
    shards = [task_for(EMBED_SHARD, generation(4), f"in{n}", f"out{n}") for n in range(8)]
    for hour in range(0, 24, 6):  # by four leaders, one after the other
        ask_until(leader(), clock, (hour + 6) * 3600.0, *shards)
    assert clock.now >= DAY
    assert client.llen(EMBED_QUEUE) == len(shards)


def test_tasks_of_builds_that_ended_leave_the_queue(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis, store: Store
) -> None:
    tasks = leader()
    for number in range(5, 50):  # a build every half hour, none of which anybody embeds
        create(store, number, State.BUILDING)
        shards = [
            task_for(EMBED_SHARD, generation(number), f"in{n}", f"out{number}-{n}")
            for n in range(4)
        ]
        ask_until(tasks, clock, clock.now + 1800.0, *shards)
        Generations(store).record(number, State.ABANDONED)
    assert client.llen(EMBED_QUEUE) <= 2 * len(shards)


def test_the_same_file_wanted_by_the_next_build_is_asked_for_at_once(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis, store: Store
) -> None:
    """Else an embedder would take the task, see that its generation is over, and drop it."""
    assert leader().send(WANT)
    Generations(store).record(4, State.ABANDONED)
    create(store, 5, State.BUILDING)
    clock.now += 1.0
    assert leader().send(task_for(EMBED_SHARD, generation(5), "in", "out"))
    assert client.llen(EMBED_QUEUE) == 1


def test_a_task_says_what_to_make_and_when_it_was_asked_for_and_never_expires(
    leader: Callable[[], TaskSender], client: Redis
) -> None:
    before = time.time()
    leader().send(WANT)
    (message,) = client.lrange(EMBED_QUEUE, 0, -1)
    headers = json.loads(message)["headers"]
    assert headers["kwargsrepr"] == repr(
        {"snapshot": 7, "input_file": "in", "output_file": "out", "generation": 4}
    )
    assert (headers["expires"], headers["eta"]) == (None, None)
    # For the figure of how long tasks wait, and for that alone.
    assert before <= headers[ASKED_AT] <= time.time()


def test_a_shard_in_work_is_not_asked_for_and_one_whose_embedder_died_is(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis, redis: RedisProcess
) -> None:
    tasks = leader()
    assert tasks.send(WANT)
    client.delete(EMBED_QUEUE)  # an embedder takes it
    embedder = WorkClaims(redis.url, silence_seconds=30.0)
    assert embedder.claim("out")
    assert ask_until(tasks, clock, DAY, WANT) == 0
    embedder.close()
    client.delete("realm:work:out")  # as its claim does that lapses
    assert ask_until(tasks, clock, DAY + 60.0, WANT) == 1
    assert client.llen(EMBED_QUEUE) == 1


def test_what_a_killed_embedder_of_this_machine_was_at_waits_for_no_lapse(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis, redis: RedisProcess
) -> None:
    tasks = leader()
    assert tasks.send(WANT)
    client.delete(EMBED_QUEUE)  # an embedder takes it
    program = (
        "import sys, time; from services.embedder.claims import WorkClaims\n"
        "print(WorkClaims(sys.argv[1], 1000.0).claim('out'), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, redis.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as embedder:
        assert embedder.stdout is not None
        assert embedder.stdout.readline() == "True\n"
        clock.now += AGAIN
        assert not tasks.send(WANT)
        embedder.kill()
    clock.now += AGAIN
    assert tasks.send(WANT)
    assert WorkClaims(redis.url, 30.0).claim("out")


def test_a_task_that_was_lost_is_sent_again(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis
) -> None:
    tasks = leader()
    assert tasks.send(WANT)
    client.flushall()
    assert not tasks.send(WANT), "it was sent just now"
    clock.now = AGAIN
    assert tasks.send(WANT)


def test_forgotten_tasks_are_looked_at_at_once(
    leader: Callable[[], TaskSender], clock: Clock, client: Redis
) -> None:
    tasks = leader()
    for file in ("out", None):
        tasks.send(WANT)
        client.flushall()
        clock.now += 1.0
        tasks.allow_resend(file)
        assert tasks.send(WANT)
        clock.now += AGAIN
    assert client.llen(EMBED_QUEUE) == 1


def test_changes_have_a_queue_of_their_own(leader: Callable[[], TaskSender], client: Redis) -> None:
    leader().send(task_for(EMBED_CHANGES, generation(4), "in", "out"))
    assert client.llen(DELTA_QUEUE) == 1


def test_without_the_queue_nothing_counts_as_asked(metrics: IndexerMetrics) -> None:
    settings = load_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    outstanding = OutstandingTasks(settings.addresses.redis_url, lambda number: True)
    with make_sender(settings) as app:
        tasks = TaskSender(app, outstanding, 100.0, metrics)
        for _ in range(2):
            with pytest.raises(DependencyUnavailable):
                tasks.send(WANT)
    outstanding.close()

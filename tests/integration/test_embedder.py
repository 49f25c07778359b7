"""The embedder process against a real Redis: work, order, restarts, wipes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from celery import Celery

from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.process.queue import (
    DELTA_QUEUE,
    EMBED_CHANGES,
    EMBED_QUEUE,
    EMBED_SHARD,
    WORK,
    make_celery,
    work_key,
)
from realm.process.wakeup import Wakeup
from realm.records import arrow, vectors
from realm.records.failures import quarantine_file
from realm.records.generation import pieces_folder
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.task_files import piece_files
from realm.settings import load_settings
from services.embedder.claims import KEY
from tests.integration.redis_process import RedisProcess
from tests.tiny import letter_model
from tests.unit.embedder.conftest import begin_generation, cut, write_passages
from tests.waiting import until

START_SECONDS = 60
WORK_SECONDS = 45
STOP_SECONDS = 45
# Many batches of one passage each: seconds of work that can be met in the middle.
LONG = [" ".join(f"{text} foxes ran {line}." for line in range(40)) for text in range(100)]
ONE_BY_ONE = {"REALM_EMBED_TOKEN_BUDGET": "1"}


@dataclass
class Bench:
    """A store with a snapshot, a Redis, and an embedder that may be started and ended."""

    folder: Path
    redis: RedisProcess
    store: Store
    model: Model
    snapshot: Snapshot
    generation: int
    process: subprocess.Popen[bytes] | None = None
    made: int = field(default=0)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self, **settings: str) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "REALM_STORE_URL": str(self.folder / "store"),
            "REALM_REDIS_URL": self.redis.url,
            "REALM_HEARTBEAT_FILE": str(self.folder / "heartbeat"),
            "REALM_DEVICE": "cpu",
            **settings,
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.embedder"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def until(self, holds: Callable[[], bool], seconds: float = WORK_SECONDS) -> None:
        until(holds, "the embedder's log follows", seconds, lambda: self.log)

    def wait_until_ready(self, times: int = 1) -> None:
        self.until(lambda: self.log.count("embedder_ready") >= times, START_SECONDS)

    def stop(self, sent: signal.Signals, within: float) -> int:
        assert self.process is not None
        self.process.send_signal(sent)
        try:
            return self.process.wait(timeout=within)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(timeout=10)

    def passages(self, texts: list[str]) -> str:
        """Writes a passage file of its own; returns its path."""
        self.made += 1
        cut_passages = cut(self.model, texts, first=1000 * self.made)
        return write_passages(self.store, self.model, cut_passages, f"c{self.made}")

    def send(self, texts: list[str], task: str = EMBED_SHARD, queue: str = EMBED_QUEUE) -> str:
        """Asks for the vectors of new passages; returns the file they will be in."""
        return self.ask(self.passages(texts), task, queue)

    def ask(self, file: str, task: str = EMBED_SHARD, queue: str = EMBED_QUEUE) -> str:
        """As the indexer does: for a generation that wants it."""
        self.generation = begin_generation(self.store, self.snapshot, (file,))
        output = vectors.vector_file(self.snapshot.name, file)
        if task == EMBED_CHANGES:
            folder, fingerprint = pieces_folder(self.generation), self.snapshot.fingerprint
            passages = self.store.read(file)
            file, output = piece_files(f"{folder}/x", fingerprint, Path(file).stem)
            self.store.write(file, passages)
        with self.app() as app:
            app.send_task(
                task,
                kwargs={
                    "snapshot": self.snapshot.number,
                    "input_file": file,
                    "output_file": output,
                    "generation": self.generation,
                },
                queue=queue,
            )
        return output

    def app(self) -> Celery:
        return make_celery(load_settings(redis_url=self.redis.url))

    def wait_for(self, *outputs: str) -> None:
        self.until(lambda: all(self.store.exists(path) for path in outputs))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "redis").mkdir()
    redis = RedisProcess(tmp_path / "redis")
    store = Store.open(str(tmp_path / "store"))
    model = letter_model()
    snapshot = publish_model(Snapshots(store), model)
    bench = Bench(tmp_path, redis, store, model, snapshot, begin_generation(store, snapshot, ()))
    try:
        yield bench
    finally:
        if bench.process is not None and bench.process.poll() is None:
            bench.process.kill()
            bench.process.wait(timeout=10)
        redis.kill(wipe=False)


def test_tasks_are_done_and_the_indexer_is_nudged(bench: Bench) -> None:
    nudge = Wakeup(bench.redis.url)
    nudge.wait(0.01)
    bench.start(REALM_LOG_FORMAT="json")
    bench.wait_until_ready()
    first = bench.send(["one fox ran."])
    second = bench.send(["two hens sat."], EMBED_CHANGES, DELTA_QUEUE)
    bench.wait_for(first, second)
    assert nudge.wait(5) == "vectors"
    nudge.close()
    assert bench.stop(signal.SIGTERM, within=STOP_SECONDS) == 0
    # Plain log lines: JSON throughout, no banner.
    lines = bench.log.splitlines()
    assert [line for line in lines if not line.startswith("{")] == []
    with bench.redis.client() as client:
        assert client.keys(f"{KEY}*") == client.keys(f"{WORK}*") == []
        assert client.llen(EMBED_QUEUE) == client.llen(DELTA_QUEUE) == 0
        assert client.hlen("unacked") == 0


@pytest.mark.parametrize("first", [DELTA_QUEUE, pytest.param(EMBED_QUEUE, marks=pytest.mark.slow)])
def test_the_queue_named_first_is_served_first(bench: Bench, first: str) -> None:
    other = EMBED_QUEUE if first == DELTA_QUEUE else DELTA_QUEUE
    for number in range(4):
        bench.send([f"shard {number}."], queue=other)
    urgent = [bench.send([f"change {number}."], queue=first) for number in range(4)]
    bench.start(REALM_EMBEDDER_QUEUES=f"{first},{other}")
    bench.until(lambda: bench.log.count("task_ended") == 8, START_SECONDS)
    ended = [line for line in bench.log.splitlines() if "task_ended" in line]
    assert all(any(path in line for path in urgent) for line in ended[:4])


@pytest.mark.parametrize("wipe", [pytest.param(False, marks=pytest.mark.slow), True])
def test_worker_goes_on_after_redis_was_away(bench: Bench, wipe: bool) -> None:
    bench.start()
    bench.wait_until_ready()
    bench.wait_for(bench.send(["one fox ran."]))
    for _ in range(2):
        bench.redis.kill(wipe=wipe)
        bench.until(lambda: "Connection refused" in bench.log)
        beat = (bench.folder / "heartbeat").stat().st_mtime_ns
        until(
            lambda seen=beat: (bench.folder / "heartbeat").stat().st_mtime_ns > seen,  # type: ignore[misc]
            "a sign of life while Redis is away",
            10,
        )
        bench.redis.start()
        outputs = [bench.send([f"hen {number} sat."]) for number in range(3)]
        bench.wait_for(*outputs)
    assert bench.process is not None
    assert bench.process.poll() is None
    assert bench.stop(signal.SIGTERM, within=STOP_SECONDS) == 0


@pytest.mark.slow
def test_redis_away_during_a_task_costs_neither_the_task_nor_the_worker(bench: Bench) -> None:
    bench.start(**ONE_BY_ONE)
    bench.wait_until_ready()
    long = bench.send(LONG[:50])
    bench.until(lambda: "task_started" in bench.log)
    bench.redis.kill(wipe=True)
    bench.wait_for(long)
    # The acknowledgement fails, and Redis is back before anything else misses it.
    bench.until(lambda: "Connection to broker lost" in bench.log, 5)
    bench.redis.start()
    bench.wait_for(bench.send(["two hens sat."]))


def test_sigterm_hands_unfinished_work_on(bench: Bench) -> None:
    bench.start(**ONE_BY_ONE, REALM_DRAIN_SECONDS="0.5")
    bench.wait_until_ready()
    output = bench.send(LONG)
    bench.until(lambda: "task_started" in bench.log)
    assert bench.stop(signal.SIGTERM, within=STOP_SECONDS) == 0
    assert not bench.store.exists(output)
    with bench.redis.client() as client:
        assert client.llen(EMBED_QUEUE) == 1
        assert client.keys(f"{KEY}*") == client.keys(f"{WORK}*") == []
    Generations(bench.store).record(bench.generation, State.ABANDONED)
    bench.start()
    bench.until(lambda: '"outcome": "unwanted"' in bench.log, START_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("busy", [True, False])
def test_worker_stops_while_redis_is_away(bench: Bench, busy: bool) -> None:
    bench.start(**ONE_BY_ONE, REALM_DRAIN_SECONDS="0.5")
    bench.wait_until_ready()
    if busy:
        bench.send(LONG)
        bench.until(lambda: "task_started" in bench.log)
    bench.redis.kill(wipe=True)
    if not busy:
        bench.until(lambda: "Connection refused" in bench.log)
    code = bench.stop(signal.SIGTERM, within=STOP_SECONDS)
    assert busy or code == 0


@pytest.mark.slow
def test_worker_that_fails_for_an_unknown_reason_ends_itself(bench: Bench) -> None:
    bench.start()
    bench.wait_until_ready()
    file = bench.passages(["one fox ran."])
    table = arrow.read_table(bench.store, file)
    words = pa.array(["not token ids"] * table.num_rows)
    column = table.column_names.index("body_ids")
    arrow.write_table(bench.store, file, table.set_column(column, "body_ids", words))
    bench.ask(file)
    assert bench.process is not None
    assert bench.process.wait(timeout=WORK_SECONDS) == 1
    assert "embedder_failed" in bench.log
    with bench.redis.client() as client:
        assert client.llen(EMBED_QUEUE) == client.hlen("unacked") == 0


def test_shard_that_kills_its_worker_is_quarantined(bench: Bench) -> None:
    file = bench.passages(LONG)
    for start in range(3):
        output = bench.ask(file)
        bench.start(**ONE_BY_ONE, REALM_WORK_SILENCE_SECONDS="2")
        bench.until(
            lambda begun=start + 1: bench.log.count("task_started") == begun,  # type: ignore[misc]
            START_SECONDS,
        )
        bench.stop(signal.SIGKILL, within=STOP_SECONDS)
        with bench.redis.client() as client:
            until(
                lambda: not client.exists(work_key(output)),  # noqa: B023
                "the claim of a dead worker lapses",
            )
    bench.ask(file)
    bench.start()
    bench.until(lambda: bench.store.exists(quarantine_file(output)), START_SECONDS)
    told = bench.store.read_json(quarantine_file(output))
    assert told["output_file"] == output
    assert told["snapshot"] == bench.snapshot.number
    assert told["deliveries"] == 3
    # From now on it is refused, whatever Redis counts, and the worker does other work.
    bench.redis.client().flushall()
    bench.ask(file)
    bench.wait_for(bench.send(["one fox ran."]))
    assert not bench.store.exists(output)
    assert bench.log.count('"outcome": "quarantined"') == 2


@pytest.mark.slow
def test_task_of_a_killed_worker_comes_back(bench: Bench) -> None:
    output = bench.send(LONG)
    bench.start(**ONE_BY_ONE, REALM_VISIBILITY_SECONDS="10", REALM_WORK_SILENCE_SECONDS="2")
    bench.until(lambda: "task_started" in bench.log, START_SECONDS)
    bench.stop(signal.SIGKILL, within=STOP_SECONDS)
    bench.start(REALM_VISIBILITY_SECONDS="10")
    bench.wait_for(output)


@pytest.mark.slow
def test_store_that_is_away_for_a_moment_is_waited_for(bench: Bench) -> None:
    bench.start()
    bench.wait_until_ready()
    file = bench.passages(["one fox ran."])
    path = bench.folder / "store" / file
    data = path.read_bytes()
    path.unlink()
    path.symlink_to(path)  # reading fails, yet not for want of the file
    output = bench.ask(file)
    bench.until(lambda: "task_retried" in bench.log)
    bench.wait_for(bench.send(["two hens sat."]))
    whole = path.with_name("whole")
    whole.write_bytes(data)
    whole.replace(path)  # at once: a moment without the file would be for want of it
    bench.wait_for(output)

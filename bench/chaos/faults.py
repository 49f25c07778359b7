"""Faults: drawn from a seed, and done to the cluster's processes, files and collections."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import grpc
import psutil
from redis import Redis
from redis.exceptions import RedisError
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.cluster import BenchCluster
from bench.points import delete_points, read_points
from realm.errors import RealmError
from realm.records.generations import Generation, Generations
from realm.records.snapshots import Snapshots
from realm.records.states import ACTIVE, IN_PROGRESS, State
from realm.records.vectors import vector_file
from realm.search.vector_index import open_index
from realm.settings import load_settings


class Kind(StrEnum):
    KILL = "kill"
    STOP = "stop"
    WIPE_REDIS = "wipe_redis"
    CORRUPT = "corrupt"
    DELETE = "delete"
    RESTART_QDRANT = "restart_qdrant"
    LOSE_COLLECTION = "lose_collection"
    LOSE_POINTS = "lose_points"


#: Share of its points that a collection loses.
LOST_SHARE = 0.3
#: The longest that Qdrant takes to restart.
QDRANT_BACK_SECONDS = 60.0
#: Of a hundred faults.
WEIGHTS = {
    Kind.KILL: 42,
    Kind.STOP: 18,
    Kind.WIPE_REDIS: 9,
    Kind.CORRUPT: 12,
    Kind.DELETE: 6,
    Kind.RESTART_QDRANT: 7,
    Kind.LOSE_COLLECTION: 3,
    Kind.LOSE_POINTS: 3,
}


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """`at` in seconds from the beginning, `seconds` the length of a stop; `draw` in [0, 1)."""

    at: float
    kind: Kind
    seconds: float
    draw: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was injected. Unix times; `phase`: of the refresh under way just before."""

    kind: Kind
    target: str
    began: float
    ended: float
    phase: str


def fault_schedule(
    seed: int, seconds: float, mean: float, longest_stop: float
) -> Iterator[PlannedFault]:
    """A Poisson process: every `mean` seconds on average."""
    rng = random.Random(seed)
    at = mean / 2
    kinds, weights = zip(*WEIGHTS.items(), strict=True)
    while at < seconds:
        kind = rng.choices(kinds, weights)[0]
        yield PlannedFault(at, kind, rng.uniform(1.0, longest_stop), rng.random())
        at += rng.expovariate(1 / mean)


class FaultActions:
    """Does one fault at a time; blocking calls are short. Returns what was hit, if anything."""

    def __init__(self, cluster: BenchCluster) -> None:
        self._cluster = cluster
        self._generations = Generations(cluster.store)
        self._snapshots = Snapshots(cluster.store)

    def names(self) -> list[str]:
        """Running processes."""
        return [each.spec.name for each in self._cluster.supervisor.processes if each.running]

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Sends a signal to the process and its children; returns whether it was running."""
        for each in self._cluster.supervisor.processes:
            if each.spec.name == name and each.running and each.pid is not None:
                try:
                    family = psutil.Process(each.pid).children(recursive=True)
                    os.kill(each.pid, number)
                    for child in family:
                        child.send_signal(number)
                except (ProcessLookupError, psutil.Error):
                    return False
                return True
        return False

    def wipe_redis(self) -> str:
        redis = Redis.from_url(self._cluster.redis_url, socket_timeout=2)
        try:
            redis.flushall()
        except RedisError as error:
            return f"not reached: {error}"
        finally:
            redis.close()
        return "redis"

    def corrupt(self, draw: float) -> str:
        """Flips a bit of a file in use: vectors, passages, deltas, an unserved snapshot."""
        path = _pick(self._corruptible(), draw)
        if not path:
            return ""
        file = self._file(path)
        try:
            size = file.stat().st_size
            place = int(draw * 1e6) % size if size else 0
            with file.open("r+b") as opened:
                opened.seek(place)
                byte = opened.read(1)
                opened.seek(place)
                opened.write(bytes([byte[0] ^ (1 << (place % 8))]))
        except (OSError, IndexError):
            return ""
        return f"{path}@{place}"

    def delete(self, draw: float) -> str:
        """Deletes a shard's passages or vectors."""
        path = _pick([p for p in self._corruptible() if "/deltas/" not in p], draw)
        if not path or path.startswith("snapshots/"):
            return ""
        self._file(path).unlink(missing_ok=True)
        return path

    @retry(
        retry=retry_if_exception_type((grpc.RpcError, RealmError)),
        stop=stop_after_delay(QDRANT_BACK_SECONDS),
        wait=wait_fixed(0.3),
        reraise=True,
    )
    def lose(self, draw: float, *, points: bool) -> str:
        """Drops live's collection, or a share of its points; returns the generation's number.

        Retries while Qdrant restarts after an earlier fault.
        """
        live = self._generations.live()
        if live is None:
            return ""
        collection = self._generations.get(live.generation).collection
        if not points:
            index = open_index(load_settings(qdrant_url=self._cluster.qdrant_url))
            try:
                index.drop(collection)
            finally:
                index.close()
            return str(live.generation)
        ids = read_points(self._cluster.qdrant_url, collection).ids
        lost = random.Random(draw).sample(ids, round(LOST_SHARE * len(ids)))
        delete_points(self._cluster.qdrant_url, collection, lost)
        return str(live.generation)

    def _corruptible(self) -> list[str]:
        store = self._cluster.store
        found: list[str] = []
        for number in self._generations.numbers():
            state = self._generations.state(number)
            if state not in ACTIVE:
                continue
            generation = self._generations.get(number)
            found += self._files_of(generation)
            if state in IN_PROGRESS:
                found += store.files(self._snapshots.get(generation.snapshot).folder)
        return [each for each in found if store.exists(each) and not each.endswith("manifest.json")]

    def _files_of(self, generation: Generation) -> list[str]:
        name = self._snapshots.get(generation.snapshot).name
        shards = list(generation.passage_files)
        changes = self._cluster.store.files(f"passages/{generation.fingerprint}/changes")
        return [
            *shards,
            *(vector_file(name, each) for each in shards),
            *self._cluster.store.files(f"{generation.folder}/deltas")[-3:],
            *changes[-3:],
        ]

    def _file(self, path: str) -> Path:
        assert self._cluster.store.root
        return self._cluster.store.root / path


def _pick(paths: list[str], draw: float) -> str:
    return paths[int(draw * len(paths))] if paths else ""


def phase_of(generations: Generations, slowest_gateway: int) -> str:
    """The phase of the refresh under way, from the store alone; `rest` if there is none.

    :param slowest_gateway: the oldest generation that a gateway last answered with.
    """
    live = generations.live()
    for number in reversed(generations.numbers()):
        state = generations.state(number)
        if state in (None, State.BUILDING):
            return "build"
        if state is State.VALIDATING:
            return "validate"
    if live is not None and 0 < slowest_gateway < live.generation:
        return "flip"
    return "rest"


def embedding(cluster: BenchCluster, generations: Generations, snapshots: Snapshots) -> bool:
    """Whether vectors of the candidate are missing."""
    for number in reversed(generations.numbers()):
        if generations.state(number) is not State.BUILDING:
            continue
        generation = generations.get(number)
        name = snapshots.get(generation.snapshot).name
        there = (vector_file(name, each) for each in generation.passage_files)
        return not all(map(cluster.store.exists, there))
    return False

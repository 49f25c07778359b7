"""After the faults: does the cluster converge, complete, and go on working?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from bench.chaos import oracle
from bench.cluster import BenchCluster
from bench.points import read_points
from realm.client import Client
from realm.corpus.parked import ParkedDocuments
from realm.errors import RealmError
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.records.generations import Generations
from realm.records.states import ACTIVE, IN_PROGRESS
from realm.search.vector_index import open_index
from realm.settings import load_settings

TIMEOUT_SECONDS = 180.0
POLL_SECONDS = 0.5
FINAL_STEP = 1_000_000


@dataclass(frozen=True, slots=True)
class Convergence:
    """How long the cluster took to converge, and what an independent search finds wrong."""

    converged: bool
    seconds: float
    waiting_for: str
    incomplete: list[str] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)
    looked_at: int = 0


async def converge(
    cluster: BenchCluster, model: Model, version: int, damaged: Set[int], questions: list[str]
) -> Convergence:
    """Publishes once more, waits until that is live and everything agrees, then inspects it.

    :param version: the newest acknowledged corpus version.
    :param damaged: generations whose collections lost something.
    """
    began = time.monotonic()
    generations = Generations(cluster.store)
    conditions = [
        ("the newest snapshot to be live", lambda: _is_live(cluster, generations)),
        ("every write in every active generation", lambda: _applied(generations, version)),
        ("what lost something to be retired", lambda: not damaged & _active(generations)),
        ("no document to be parked", lambda: not ParkedDocuments(cluster.store).all()),
        ("the alias", lambda: _alias(cluster, generations)),
        *(
            (f"{address} to answer with it", _answers_with(address, generations))
            for address in cluster.gateways
        ),
    ]
    await asyncio.to_thread(publish_model, cluster.snapshots, model, step=FINAL_STEP)
    for what, condition in conditions:
        if not await _until(condition, began):
            return Convergence(False, time.monotonic() - began, what)
    seconds = time.monotonic() - began
    return await asyncio.to_thread(_inspect, cluster, generations, questions, seconds)


async def _until(condition: Callable[[], bool], began: float) -> bool:
    """Whether it came true in time; a store or a gateway that fails is asked again."""
    while not await asyncio.to_thread(_holds, condition):
        if time.monotonic() - began > TIMEOUT_SECONDS:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _inspect(
    cluster: BenchCluster, generations: Generations, questions: Sequence[str], seconds: float
) -> Convergence:
    incomplete: list[str] = []
    wrong: list[str] = []
    looked = 0
    live = generations.live()
    for number in sorted(_active(generations)):
        generation = generations.get(number)
        version = generations.applied(number)
        found = oracle.build_oracle(
            cluster.store, cluster.snapshots, generation, version, questions
        )
        points = read_points(cluster.qdrant_url, generation.collection)
        looked += len(points.ids)
        incomplete += [
            f"{generation.collection} {each}" for each in oracle.faults_of(found, points)
        ]
        if live and number == live.generation:
            for address in cluster.gateways:
                wrong += oracle.wrong_answers(found, questions, address)
    return Convergence(True, seconds, "", incomplete, wrong, looked)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except RealmError:
        return False


def _is_live(cluster: BenchCluster, generations: Generations) -> bool:
    live, newest = generations.live(), max(each.number for each in cluster.snapshots.all())
    return live is not None and generations.get(live.generation).snapshot == newest


def _applied(generations: Generations, version: int) -> bool:
    """Nothing is being built either."""
    states = {generations.state(number) for number in generations.numbers()}
    if IN_PROGRESS & states:
        return False
    active = _active(generations)
    return all(generations.applied(number) >= version for number in active)


def _active(generations: Generations) -> set[int]:
    return {number for number in generations.numbers() if generations.state(number) in ACTIVE}


def _alias(cluster: BenchCluster, generations: Generations) -> bool:
    live = generations.live()
    index = open_index(load_settings(qdrant_url=cluster.qdrant_url))
    try:
        return live is not None and index.alias() == generations.get(live.generation).collection
    finally:
        index.close()


def _answers_with(address: str, generations: Generations) -> Callable[[], bool]:
    def answers() -> bool:
        live = generations.live()
        with Client(address, timeout=5) as client:
            found = client.search("anything", limit=1).index_version
        return live is not None and found.generation == live.generation

    return answers

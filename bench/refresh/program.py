"""How long a refresh takes beside the embedding in it, and what searches notice meanwhile.

The cluster refreshes to a snapshot of equal weights, once by itself and once under searches. The
embedder has one processor and one thread, the gateway and those who ask the other processor.
Afterwards the same passages are embedded once more by the embedder's own code, without queue,
index and gate: that is pure embedding.
"""

from __future__ import annotations

import asyncio
import os
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil
import torch
from prometheus_client.parser import text_string_to_metric_families

from bench.claims import Result, at_least, at_most, none
from bench.cluster import BenchCluster
from bench.datasets import any_dataset, distractors
from bench.documents import send
from bench.harness import Bench, Context
from bench.processes import processor_seconds
from bench.processors import keep_on, last_and_others
from bench.statistics import quantile
from realm.client import AsyncClient, Client
from realm.corpus.python_docs import python_documents
from realm.errors import RealmError
from realm.model.checkpoint import load_passage_encoder, new_model
from realm.model.publishing import publish_model
from realm.model.runtime import best_dtype, set_threads
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.states import TOTAL
from services.embedder.encoding import Compute, Encoding
from services.indexer.report.status import phases_of
from services.standalone.cluster import HOST

SETTINGS = {"REALM_THREADS": "1", "REALM_RECONCILE_SECONDS": "0.5"}
CPU = torch.device("cpu")
SEARCHES_A_SECOND = 10.0
MOST_TIMES, MOST_RATIO = 1.15, 1.5
SHARD_SECONDS = "realm_embedder_shard_duration_seconds"


@dataclass(frozen=True, slots=True)
class Parameters:
    """`rest`: seconds of searches while nothing is built. `judge_speed`: the machine is calm and
    the corpus large enough to claim something by."""

    documents: int
    rest: float
    judge_speed: bool


@dataclass(frozen=True, slots=True)
class Searches:
    """Latencies in seconds from when a search was due, and how many failed."""

    latencies: Sequence[float]
    failed: int


@dataclass(frozen=True, slots=True)
class Observed:
    """`phases` of the refresh without searches, in seconds; `tasks`, the embedder's own of it;
    `processor`, of processor time, each process's of it."""

    passages: int
    phases: Mapping[str, float]
    tasks: Mapping[str, float]
    processor: Mapping[str, float]
    pure: float
    at_rest: Searches
    while_built: Searches
    load: float
    source: str


def observe(parameters: Parameters, context: Context) -> Observed:
    set_threads(1)
    load = psutil.getloadavg()[0]
    texts = any_dataset(context.seed)
    questions = [each.question for each in texts.questions]
    # Outside, the questions' own documents are beginnings of Python's.
    corpus = [*texts.documents, *distractors(), *python_documents()]
    documents = list({each.id: each for each in corpus}.values())
    model = new_model()
    with BenchCluster(context.folder, SETTINGS) as cluster:
        with Client(cluster.gateways[0], timeout=120) as client:
            send(client, documents[: parameters.documents])
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders(threads=1)
        cluster.await_answers()
        embedders = _separate(cluster)
        before, used = _task_seconds(cluster), _processor_seconds(cluster)
        publish_model(cluster.snapshots, model, step=1)
        refreshed = _await_refresh(cluster, 2)
        tasks = _since(before, _task_seconds(cluster))
        processor = _since(used, _processor_seconds(cluster))
        at_rest = asyncio.run(_ask(cluster, questions, _until(time.monotonic() + parameters.rest)))
        publish_model(cluster.snapshots, model, step=2)
        live = _live_test(cluster, 3)
        while_built = asyncio.run(_ask(cluster, questions, live))
        _await_refresh(cluster, 3)
        phases = phases_of(Generations(cluster.store).events(refreshed.number))
        passages, pure = _embed_alone(cluster, refreshed, embedders)
    return Observed(
        passages=passages,
        phases=phases,
        tasks=tasks,
        processor=processor,
        pure=pure,
        at_rest=at_rest,
        while_built=while_built,
        load=load,
        source=texts.source,
    )


def _separate(cluster: BenchCluster) -> set[int]:
    """Embedders on the last processor, which is returned; all others, and this process, on those
    before it."""
    last, others = last_and_others()
    cluster.keep_on(others)
    cluster.keep_on(last, "embedder")
    keep_on(others, os.getpid())
    return last


def _task_seconds(cluster: BenchCluster) -> dict[str, float]:
    """Seconds of the embedder's tasks by phase, since it started."""
    port = cluster.cluster.port("embedder metrics")
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        sample.labels["phase"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"{SHARD_SECONDS}_sum"
    }


def _processor_seconds(cluster: BenchCluster) -> dict[str, float]:
    """Of each process, since it started; that of Qdrant without its collections' own."""
    return {
        each.spec.name: processor_seconds(psutil.Process(each.pid))
        for each in cluster.supervisor.processes
        if each.pid is not None
    }


def _since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in now.items()}


def _live_test(cluster: BenchCluster, snapshot: int) -> Callable[[], bool]:
    """Whether a generation of the snapshot is live; looked up twice a second at most."""
    generations, looked, found = Generations(cluster.store), 0.0, False

    def is_live() -> bool:
        nonlocal looked, found
        if not found and time.monotonic() - looked > 0.5:
            looked = time.monotonic()
            entry = generations.live()
            found = entry is not None and generations.get(entry.generation).snapshot == snapshot
        return found

    return is_live


def _until(moment: float) -> Callable[[], bool]:
    return lambda: time.monotonic() >= moment


def _await_refresh(cluster: BenchCluster, snapshot: int) -> Generation:
    """Once every gateway answers with it."""
    generations = Generations(cluster.store)
    cluster.until(_live_test(cluster, snapshot), f"a generation of snapshot {snapshot}")
    entry = generations.live()
    assert entry, "it is live"
    cluster.until(
        lambda: TOTAL in phases_of(generations.events(entry.generation)), "the refresh's end"
    )
    return generations.get(entry.generation)


async def _ask(
    cluster: BenchCluster, questions: Sequence[str], ended: Callable[[], bool]
) -> Searches:
    """Searches at a steady rate, however long each takes, until `ended`."""
    latencies: list[float] = []
    failed = 0

    async def search(client: AsyncClient, question: str, due: float) -> None:
        nonlocal failed
        try:
            await client.search(question, limit=5)
            latencies.append(time.monotonic() - due)
        except RealmError:
            failed += 1

    async with AsyncClient(cluster.gateways[0], timeout=30) as client, asyncio.TaskGroup() as group:
        began, number = time.monotonic(), 0
        while not ended():
            due = began + number / SEARCHES_A_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(search(client, questions[number % len(questions)], due))
            number += 1
    return Searches(latencies, failed)


def _embed_alone(
    cluster: BenchCluster, generation: Generation, processors: set[int]
) -> tuple[int, float]:
    """Passages, and the seconds that the embedder's code takes to make their vectors here, on the
    processor that the embedder had."""
    for each in cluster.named("embedder"):
        each.terminate()
        each.wait(60)
    keep_on(processors, os.getpid())
    snapshots, dtype = cluster.snapshots, best_dtype(CPU)
    folder = snapshots.materialise(snapshots.get(generation.snapshot))
    tower = load_passage_encoder(folder, device=CPU, dtype=dtype)
    tables = [arrow.read_table(cluster.store, each) for each in generation.passage_files]
    encoding = Encoding(tower, Compute(None, dtype), lambda: None)
    encoding.passages(tables[0].slice(0, 20), {})  # the first call of a model takes longer
    began = time.monotonic()
    for table in tables:
        encoding.passages(table, {})
    return sum(table.num_rows for table in tables), time.monotonic() - began


def judge(parameters: Parameters, observed: Observed) -> Result:
    times = observed.phases[TOTAL] / observed.pure
    p99 = {
        name: quantile(each.latencies, 0.99)
        for name, each in (("at_rest", observed.at_rest), ("while_built", observed.while_built))
    }
    ratio = p99["while_built"] / p99["at_rest"]
    figures = {
        "texts": observed.source,
        "passages": observed.passages,
        "load": observed.load,
        "refresh_seconds": {name: round(each, 2) for name, each in observed.phases.items()},
        "embedder_seconds": {name: round(each, 2) for name, each in observed.tasks.items()},
        "processor_seconds": {name: round(each, 2) for name, each in observed.processor.items()},
        "pure_embedding_seconds": round(observed.pure, 2),
        "passages_a_second_of_pure_embedding": round(observed.passages / observed.pure, 1),
        "times_pure_embedding": round(times, 3),
        "searches": {
            "at_rest": len(observed.at_rest.latencies),
            "while_built": len(observed.while_built.latencies),
        },
        "search_p99_ms": {name: round(each * 1000, 1) for name, each in p99.items()},
        "search_p50_ms": {
            "at_rest": round(quantile(observed.at_rest.latencies, 0.5) * 1000, 1),
            "while_built": round(quantile(observed.while_built.latencies, 0.5) * 1000, 1),
        },
        "p99_ratio": round(ratio, 2),
    }
    claims = [
        at_least("passages embedded for the refresh", observed.passages, 1),
        none("searches that failed", observed.at_rest.failed + observed.while_built.failed),
    ]
    if parameters.judge_speed:
        claims += [
            at_most("times pure embedding, of a whole refresh", times, MOST_TIMES),
            at_most("p99 of searches while built, over that at rest", ratio, MOST_RATIO),
        ]
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=8000, rest=40.0, judge_speed=True),
    quick=Parameters(documents=60, rest=5.0, judge_speed=False),
    observe=observe,
    judge=judge,
    options={
        "documents": "of the corpus, at most",
        "rest": "seconds of searches while nothing is built",
    },
)

"""What metrics, traces, keys and TLS cost at the gateway.

Four gateways over one index take turns under the same load: one that measures nothing
(`bench.overhead.bare`), one as it is, scraped now and then, one that also traces one request in a
hundred, and one that asks for keys and speaks TLS. Each turn asks the same questions and is short;
every round all have their turn, in random order, so that other load on the machine hits all of them
alike. There are two figures a pair: questions a second, which is the claim, and the gateway's
processor time a question, which other processes disturb less. Of keys and TLS the claim is what
they add to a search that is alone, on a connection that stands.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from numpy.typing import ArrayLike, NDArray

from bench import tiny
from bench.apparatus.authority import Authority
from bench.claims import Claim, Result, at_least, at_most
from bench.cluster import BenchCluster
from bench.documents import first_documents, first_ids, send
from bench.harness import Bench, Context
from bench.processes import processor_seconds
from realm.client import AsyncClient, Client, Tls
from realm.client.transport import ConnectionOptions
from realm.model.checkpoint import new_model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads
from realm.records.keys import ApiKeys, Scope
from services.standalone.cluster import HOST

DOCUMENTS = 300
REQUESTS = 64
AT_ONCE = 16
LIMIT = 5
#: Turns last seconds: still more often than every ten seconds, as Prometheus does.
SCRAPED_EVERY = 6
#: Asked one after another in a turn.
ALONE = 8
LEAST_RATIO = 0.97
MOST_ADDED_MS = 0.3
RESAMPLES = 5000
#: Of the interval around a ratio: nine in ten.
INTERVAL = (0.05, 0.95)
PORTS = {"bare": 37, "metrics": 38, "tracing": 39, "access": 40}
SHARE = "0.01"
#: For which a certificate can be.
LOCALHOST = "localhost"


@dataclass(frozen=True, slots=True)
class Turn:
    """Questions a second, milliseconds of the gateway's processor time a question, and how many a
    search takes that is alone (median)."""

    rate: float
    processor: float
    alone: float


@dataclass(frozen=True, slots=True)
class Variant:
    """A gateway's process and address, and how it is connected to."""

    name: str
    address: str
    metrics_port: int
    process: psutil.Process
    options: ConnectionOptions


@dataclass(frozen=True, slots=True)
class Parameters:
    """`rounds` are turns of each gateway."""

    rounds: int
    tiny: bool


@dataclass(frozen=True, slots=True)
class Race:
    """The turns of each gateway, in the order of rounds."""

    turns: dict[str, list[Turn]]
    seed: int


def observe(parameters: Parameters, context: Context) -> Race:
    set_threads(1)
    folder, seed = context.folder, context.seed
    model = tiny.tiny_model(seed) if parameters.tiny else new_model()
    writer = tiny.writer(model, seed)
    with BenchCluster(folder, {"REALM_GATE_PROBES": "20"}) as cluster, ExitStack() as stack:
        with Client(cluster.gateways[0]) as client:
            send(client, first_documents(writer, DOCUMENTS))
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        variants = [_start(name, cluster, folder, stack) for name in PORTS]
        for each in variants:
            cluster.await_answer(each.address, **each.options)
        questions = [writer.question(each, 0)[:64] for each in first_ids(REQUESTS)]
        turns = asyncio.run(_race(variants, questions, parameters.rounds, random.Random(seed)))
    return Race(turns, seed)


def ratio(treated: ArrayLike, control: ArrayLike, seed: int) -> dict[str, float]:
    """Geometric mean of the middle half of paired ratios, with a bootstrap interval over the pairs.

    The outer quarters are left out on both sides: another process's burst falls on one of a pair.
    """
    logs = np.log(np.asarray(treated) / np.asarray(control))
    rng = np.random.default_rng(seed)
    drawn = _middle(rng.choice(logs, (RESAMPLES, len(logs))))
    low, high = np.exp(np.quantile(drawn, INTERVAL))
    return {"ratio": float(np.exp(_middle(logs))), "low": float(low), "high": float(high)}


def _middle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the middle half along the last axis: [..., n] → [...]."""
    size = values.shape[-1]
    kept: NDArray[np.float64] = np.sort(values, axis=-1)[..., size // 4 : size - size // 4]
    return kept.mean(axis=-1)  # type: ignore[no-any-return]


def _start(name: str, cluster: BenchCluster, folder: Path, stack: ExitStack) -> Variant:
    port = cluster.cluster.port("gateway") + PORTS[name]
    environment = {
        **os.environ,
        **cluster.cluster.environment(),
        "REALM_GATEWAY_LISTEN": f"{HOST}:{port}",
        "REALM_THREADS": "1",
        "PYTHONSAFEPATH": "",  # the bench's own module is found from where it runs
    }
    metrics_port = port + 100 if name != "bare" else 0
    environment["REALM_METRICS_PORT"] = str(metrics_port)
    if name == "tracing":
        environment["REALM_TRACE_FOLDER"] = str(folder / "traces")
        environment["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
        environment["OTEL_TRACES_SAMPLER_ARG"] = SHARE
    address, options = f"{HOST}:{port}", ConnectionOptions()
    if name == "access":
        authority = Authority(folder)
        certificate, private_key = authority.issue(LOCALHOST)
        environment["REALM_REQUIRE_KEYS"] = "true"
        environment["REALM_TLS_CERTIFICATE"] = str(certificate)
        environment["REALM_TLS_PRIVATE_KEY"] = str(private_key)
        key, _ = ApiKeys(cluster.store).create("bench", [Scope.ASK])
        options = ConnectionOptions(key=key, tls=Tls(authority.file))
        address = f"https://{LOCALHOST}:{port}"
    module = "bench.overhead.bare" if name == "bare" else "services.gateway"
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen([sys.executable, "-m", module], env=environment, stderr=log)
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    return Variant(name, address, metrics_port, psutil.Process(process.pid), options)


async def _race(
    variants: Sequence[Variant],
    questions: Sequence[str],
    rounds: int,
    rng: random.Random,
) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {each.name: [] for each in variants}
    for number in range(rounds + 1):
        for each in rng.sample(variants, len(variants)):
            turn = await _turn(each, questions, scraped=number % SCRAPED_EVERY == 0)
            if number:  # the first round warms up
                turns[each.name].append(turn)
    return turns


async def _turn(variant: Variant, questions: Sequence[str], *, scraped: bool) -> Turn:
    places = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(variant.address, timeout=60, **variant.options) as client:

        async def ask(question: str) -> None:
            async with places:
                await client.search(question, limit=LIMIT)

        await ask(questions[0])
        alone = [await _timed(ask(question)) for question in questions[:ALONE]]
        before, began = processor_seconds(variant.process), time.perf_counter()
        if scraped and variant.metrics_port:
            await asyncio.to_thread(_scrape, variant.metrics_port)
        async with asyncio.TaskGroup() as tasks:
            for number in range(REQUESTS):
                tasks.create_task(ask(questions[number % len(questions)]))
        seconds, after = time.perf_counter() - began, processor_seconds(variant.process)
    spent = after - before
    return Turn(REQUESTS / seconds, spent / REQUESTS * 1000, median(alone) * 1000)


async def _timed(call: Awaitable[None]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


def judge(parameters: Parameters, race: Race) -> Result:
    turns, seed = race.turns, race.seed
    rates = {name: [turn.rate for turn in each] for name, each in turns.items()}
    processor = {name: [turn.processor for turn in each] for name, each in turns.items()}
    figures = {
        name: {
            "questions_per_second": float(np.median(rates[name])),
            "processor_ms_per_question": float(np.median(processor[name])),
            "lone_search_ms": float(np.median([turn.alone for turn in turns[name]])),
        }
        for name in turns
    }
    claims: list[Claim] = []
    for name, words in (("metrics", "metrics"), ("tracing", "metrics and traces at 1%")):
        found = ratio(rates[name], rates["bare"], seed)
        work = ratio(processor["bare"], processor[name], seed)
        figures[name] |= found | {f"processor_{key}": value for key, value in work.items()}
        claims.append(
            at_least(f"throughput with {words} against without", found["ratio"], LEAST_RATIO)
        )
    added = added_ms(turns["access"], turns["metrics"])
    figures["access"] |= {"added_ms": added, **ratio(rates["access"], rates["metrics"], seed)}
    claims.append(at_most("milliseconds that keys and TLS add to a search", added, MOST_ADDED_MS))
    return Result({"rounds": parameters.rounds, "requests_a_turn": REQUESTS, **figures}, claims)


def added_ms(treated: Sequence[Turn], control: Sequence[Turn]) -> float:
    """Median over rounds of what a lone search takes longer: bursts of others fall on a few."""
    return median(one.alone - other.alone for one, other in zip(treated, control, strict=True))


def _scrape(port: int) -> None:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=30) as answer:
        answer.read()


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(rounds=80, tiny=False),
    quick=Parameters(rounds=20, tiny=True),
    observe=observe,
    judge=judge,
    options={
        "rounds": "turns of each gateway",
        "tiny": "a tiny model, not the packaged one",
    },
)

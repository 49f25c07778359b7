"""What a gateway costs beside the same pipeline without a server, what it saves beside the server
that a user would write, and what becomes of its answers when more is asked than it can do.

Sides take turns over one index, so that other load on the machine hits all of them alike; each
figure is the median of its turns. Who asks has a processor of its own, the last one: what it costs
to ask for more than can be answered is not taken from those who answer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median

from bench.claims import Claim, Result, at_least, at_most, none
from bench.cluster import BenchCluster
from bench.datasets import DATA, any_dataset, distractors
from bench.documents import send
from bench.harness import Bench, Context
from bench.processors import keep_on, last_and_others
from bench.serve.load import Served, opened
from bench.serve.pipeline import Outcome, Turn
from bench.serve.sides import STOP_SECONDS, Gateway, Pipeline, Plain, log_of
from bench.statistics import quantile
from realm.client import AsyncClient, Client
from realm.errors import DependencyUnavailable
from realm.model.base import default_folder
from realm.model.publishing import load_source, publish_model
from realm.model.runtime import set_threads
from realm.records.controls import Controls
from realm.settings import load_settings

LIMIT = 5
CLIENTS = 32
#: Of answers: more passages than are read at once, and not so many that any are refused.
ASKING = 8
QUESTIONS = 512
#: Of the overload: times the saturating rate, the caller's deadline.
TIMES = 3.0
DEADLINE = 5.0
#: Searches a second beside overloaded reading, and beside those who wait for a version.
BESIDE = 5.0
WAITERS = 256
SETTINGS = {"REALM_GATE_PROBES": "20", "REALM_THREADS": "1"}
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Parameters:
    """At most so many `documents`; `rounds` of turns of `seconds`; seconds of `overload`."""

    documents: int
    rounds: int
    seconds: float
    overload: float


@dataclass(frozen=True, slots=True)
class Overload:
    """What became of it, the gateway's memory before and after, and a turn right after it."""

    searches: Served
    resident: tuple[int, int]
    after: Outcome


@dataclass(frozen=True, slots=True)
class Beside:
    """Searches alone, and beside something that should not be noticed."""

    alone: Served
    beside: Served


@dataclass(frozen=True, slots=True)
class Observed:
    turns: dict[str, list[Outcome]]
    overload: Overload
    reading: Beside
    waiting: Beside
    source: str


def observe(parameters: Parameters, context: Context) -> Observed:
    set_threads(1)
    texts = any_dataset(context.seed)
    documents = [*texts.documents, *distractors()][: parameters.documents]
    questions = _questions() or [each.question for each in texts.questions]
    questions = questions[:QUESTIONS]
    with BenchCluster(context.folder, SETTINGS) as cluster, ExitStack() as stack:
        with Client(cluster.gateways[0], timeout=120) as client:
            send(client, documents, 100)
        publish_model(cluster.snapshots, load_source(default_folder(), load_settings()))
        cluster.start_embedders()
        cluster.await_answers()
        Controls(cluster.store).pause(True, "only what is measured runs")
        asking, serving = last_and_others()
        cluster.keep_on(serving)
        keep_on(asking, os.getpid())
        pipeline_log = stack.enter_context(log_of(context.folder, "pipeline"))
        pipeline = stack.enter_context(closing(Pipeline(cluster, questions, pipeline_log, serving)))
        gateway = Gateway(cluster)
        turns = asyncio.run(_alternate(gateway, pipeline, questions, parameters))
        plain_log = stack.enter_context(log_of(context.folder, "plain"))
        with closing(Plain(cluster, plain_log, serving)) as plain:
            plain.await_answer()
            turns |= asyncio.run(_against_plain(gateway, plain, questions, parameters))
        overload, reading = asyncio.run(
            _more_than_it_can(gateway, turns, questions, parameters.overload)
        )
        for child in cluster.named("embedder"):
            child.terminate()  # what is written now is applied to no index
            child.wait(STOP_SECONDS)
        with Client(cluster.gateways[0], timeout=120) as client:
            version = send(client, [replace(documents[0], text="something new")])
        waiting = asyncio.run(_waiters(gateway, questions, version, parameters.overload / 2))
    return Observed(turns, overload, reading, waiting, texts.source)


def _questions() -> list[str]:
    file = DATA / "nq_open" / "questions.dev.jsonl"
    if not file.exists():
        return []
    return [json.loads(line)["question"] for line in file.read_text(encoding="utf-8").splitlines()]


async def _alternate(
    gateway: Gateway, pipeline: Pipeline, questions: Sequence[str], parameters: Parameters
) -> dict[str, list[Outcome]]:
    """The first round warms up."""
    saturated = Turn("search", CLIENTS, parameters.seconds, LIMIT)
    kinds = {
        "search": saturated,
        "idle": replace(saturated, clients=1, seconds=parameters.seconds / 2),
        "answer": replace(saturated, kind="answer", clients=ASKING),
    }
    turns: dict[str, list[Outcome]] = {}
    for number in range(parameters.rounds + 1):
        for name, turn in kinds.items():
            taken = turn if number else replace(turn, seconds=1.0)
            alone = await asyncio.to_thread(pipeline.run, taken)
            served = await gateway.run(taken, questions)
            if number:
                turns.setdefault(f"pipeline {name}", []).append(alone)
                turns.setdefault(f"gateway {name}", []).append(served)
    return turns


async def _against_plain(
    gateway: Gateway, plain: Plain, questions: Sequence[str], parameters: Parameters
) -> dict[str, list[Outcome]]:
    """Both search by vectors alone."""
    turn = Turn("search", CLIENTS, parameters.seconds, LIMIT)
    turns: dict[str, list[Outcome]] = {"gateway dense": [], "plain dense": []}
    for number in range(parameters.rounds + 1):
        taken = turn if number else replace(turn, seconds=1.0)
        served = await gateway.run(taken, questions, retrieval="dense")
        other = await plain.run(taken, questions)
        if number:
            turns["gateway dense"].append(served)
            turns["plain dense"].append(other)
    return turns


async def _more_than_it_can(
    gateway: Gateway, turns: dict[str, list[Outcome]], questions: Sequence[str], seconds: float
) -> tuple[Overload, Beside]:
    rate, reads = _rate(turns["gateway search"]), _rate(turns["gateway answer"])
    async with AsyncClient(gateway.address, timeout=DEADLINE) as client:
        search = partial(client.search, limit=LIMIT)
        answer = partial(client.ask, passages=LIMIT)
        # Memory is compared once the allocator has what a flood takes at its height.
        await opened(search, questions, TIMES * rate, seconds / 10)
        before = gateway.resident
        flooded = await opened(search, questions, TIMES * rate, seconds)
        resident = (before, gateway.resident)
        calm = Turn("search", CLIENTS, max(2.0, seconds / 10), LIMIT)
        overload = Overload(flooded, resident, await gateway.run(calm, questions))

        alone = await opened(search, questions, BESIDE, seconds / 2)
        reading = asyncio.create_task(opened(answer, questions, TIMES * reads, seconds / 2))
        beside = await opened(search, questions, BESIDE, seconds / 2)
        await reading
    return overload, Beside(alone, beside)


async def _waiters(
    gateway: Gateway, questions: Sequence[str], version: int, seconds: float
) -> Beside:
    """:param version: written, and not applied."""
    async with (
        AsyncClient(gateway.address, timeout=DEADLINE) as client,
        AsyncClient(gateway.address, timeout=seconds + DEADLINE) as patient,
    ):
        search = partial(client.search, limit=LIMIT)
        alone = await opened(search, questions, BESIDE, seconds)
        waiting = [
            asyncio.create_task(patient.search(questions[0], at_least_version=version))
            for _ in range(WAITERS)
        ]
        beside = await opened(search, questions, BESIDE, seconds)
        if early := sum(each.done() for each in waiting):
            raise DependencyUnavailable(f"{early} did not wait for version {version}")
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return Beside(alone, beside)


def judge(parameters: Parameters, observed: Observed) -> Result:
    turns, overload = observed.turns, observed.overload
    figures = {name: _figures(each) for name, each in turns.items()}
    search, alone = turns["gateway search"], turns["pipeline search"]
    flooded = overload.searches
    goodput = len([each for each in flooded.answered if each <= DEADLINE]) / flooded.seconds
    before, after = overload.resident
    claims = [
        at_most(
            "processor time of a search against the pipeline's",
            _processor(search) / _processor(alone),
            1.25,
        ),
        at_least("searches a second against the pipeline's", _rate(search) / _rate(alone), 0.7),
        at_most(
            "seconds by which a lone search takes longer, p50",
            _p50(turns["gateway idle"]) - _p50(turns["pipeline idle"]),
            0.003,
        ),
        at_least(
            "answers a second against the pipeline's",
            _rate(turns["gateway answer"]) / _rate(turns["pipeline answer"]),
            0.9,
        ),
        at_least(
            f"searches a second against a plain server's, {CLIENTS} clients",
            _rate(turns["gateway dense"]) / _rate(turns["plain dense"]),
            2.5,
        ),
        at_least(
            "goodput at thrice the load against that at saturation", goodput / _rate(search), 0.9
        ),
        at_most(
            "p99 of what is taken on then against that at saturation",
            quantile(flooded.answered, 0.99) / quantile(_latencies(search), 0.99),
            2.0,
        ),
        at_most("seconds until a refusal, p95", quantile(flooded.refused, 0.95), 0.05),
        none("searches that failed otherwise", flooded.failed.total()),
        at_most("memory after a flood against before", after / before, 1.05),
        at_least(
            "searches a second right after it against before",
            overload.after.rate / _rate(search),
            0.9,
        ),
        at_most(
            "seconds of a search while reading is overloaded, p99",
            quantile(observed.reading.beside.answered, 0.99),
            0.1,
        ),
        *_unnoticed(observed.waiting),
    ]
    return Result(
        {
            "parameters": asdict(parameters),
            "source": observed.source,
            **figures,
            "overload": {
                "asked_per_second": TIMES * _rate(search),
                "goodput_per_second": goodput,
                "answered": len(flooded.answered),
                "refused": len(flooded.refused),
                "failed": dict(flooded.failed),
                "p99_seconds": quantile(flooded.answered, 0.99),
                "resident_megabytes": [before / MEGABYTE, after / MEGABYTE],
            },
            "beside_reading": _compared(observed.reading),
            "beside_waiters": _compared(observed.waiting),
        },
        claims,
    )


def _unnoticed(waiting: Beside) -> list[Claim]:
    lost = waiting.beside.failed.total() + len(waiting.beside.refused)
    return [
        none(f"searches lost while {WAITERS} wait for a version to come", lost),
        at_most(
            "seconds by which they take longer then, p50",
            quantile(waiting.beside.answered, 0.5) - quantile(waiting.alone.answered, 0.5),
            0.003,
        ),
    ]


def _compared(compared: Beside) -> dict[str, float]:
    return {
        "p50_seconds": quantile(compared.beside.answered, 0.5),
        "p99_seconds": quantile(compared.beside.answered, 0.99),
        "p50_seconds_alone": quantile(compared.alone.answered, 0.5),
        "p99_seconds_alone": quantile(compared.alone.answered, 0.99),
    }


def _figures(turns: Sequence[Outcome]) -> dict[str, float]:
    return {
        "per_second": _rate(turns),
        "processor_ms": 1000 * _processor(turns),
        "p50_seconds": _p50(turns),
        "p99_seconds": quantile(_latencies(turns), 0.99),
    }


def _rate(turns: Sequence[Outcome]) -> float:
    return median(each.rate for each in turns)


def _processor(turns: Sequence[Outcome]) -> float:
    return median(each.processor for each in turns)


def _p50(turns: Sequence[Outcome]) -> float:
    return median(quantile(each.latencies, 0.5) for each in turns)


def _latencies(turns: Sequence[Outcome]) -> list[float]:
    return [latency for each in turns for latency in each.latencies]


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=10_000, rounds=5, seconds=8.0, overload=60.0),
    quick=Parameters(documents=100, rounds=2, seconds=3.0, overload=12.0),
    observe=observe,
    judge=judge,
    options={
        "documents": "at most so many",
        "rounds": "turns of each side",
        "seconds": "of a turn",
        "overload": "seconds of each overload",
    },
)

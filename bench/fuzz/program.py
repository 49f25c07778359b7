"""Random and mutated requests on every method of gateway and indexer: what must never come of them.

Requests follow from the seed; half of them go to the gateway, half to the indexer behind it, which
has no business with strangers and must stand them all the same. Memory is looked at after the first
part and at the end: what is cached is cached by then.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

import grpc
import psutil

from bench import tiny
from bench.claims import Result, at_most, none
from bench.cluster import BenchCluster
from bench.documents import first_documents, send
from bench.fuzz.requests import Fuzzer, methods
from bench.fuzz.session import Findings, FuzzSession
from bench.harness import Bench, Context
from realm.client import Client
from realm.client.wire import channel_options
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads

DOCUMENTS = 50
AT_ONCE = 32
CALL_SECONDS = 5.0
INTERNAL = "/realm.internal."
#: After this share of the requests memory should have reached its size.
WARM_SHARE = 0.4
MOST_GROWTH_MIB = 64.0
PROCESSES = ("gateway", "indexer")


@dataclass(frozen=True, slots=True)
class Parameters:
    requests: int


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """`growth`: MiB of each process since it was warm."""

    findings: dict[str, Findings]
    restarts: dict[str, int]
    growth: dict[str, float]
    answers_afterwards: bool


def observe(parameters: Parameters, context: Context) -> Fuzzed:
    set_threads(1)
    model = tiny.tiny_model(context.seed)
    writer = tiny.writer(model, context.seed)
    fuzzer = Fuzzer(context.seed, writer.words)
    with BenchCluster(context.folder, {"REALM_GATE_PROBES": "20"}) as cluster:
        with Client(cluster.gateways[0]) as client:
            send(client, first_documents(writer, DOCUMENTS))
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        warm = round(parameters.requests * WARM_SHARE)
        found = asyncio.run(_fuzz(cluster, fuzzer, warm, {}))
        before = _memory(cluster)
        found = asyncio.run(_fuzz(cluster, fuzzer, parameters.requests - warm, found))
        after = _memory(cluster)
        with Client(cluster.gateways[0]) as client:
            answers = bool(client.search(writer.question("base-1", 0)).index_version.generation)
        restarts = cluster.restarts
    growth = {name: after[name] - before[name] for name in PROCESSES}
    return Fuzzed(found, restarts, growth, answers)


async def _fuzz(
    cluster: BenchCluster, fuzzer: Fuzzer, count: int, before: dict[str, Findings]
) -> dict[str, Findings]:
    every = methods()
    found = {}
    for name in PROCESSES:
        served = {
            path: method
            for path, method in every.items()
            if name == "indexer" or not path.startswith(INTERNAL)
        }
        address = cluster.cluster.address(name)
        options = [*channel_options(address), ("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            session = FuzzSession(channel, served, _secrets(cluster), CALL_SECONDS)
            session.findings = before.get(name, Findings())
            requests = itertools.islice(fuzzer.requests(served), count // len(PROCESSES))
            await session.send_all(requests, AT_ONCE)
            found[name] = session.findings
    return found


def _secrets(cluster: BenchCluster) -> list[str]:
    """Addresses and folders that no caller should learn."""
    ports = [f":{port}" for port in cluster.cluster.ports.values()]
    return [*ports, "127.0.0.1", str(cluster.cluster.folder), "file://", "redis://", "http://"]


def _memory(cluster: BenchCluster) -> dict[str, float]:
    """MiB that each process holds for itself."""
    found = {}
    for each in cluster.supervisor.processes:
        if each.spec.name in PROCESSES:
            found[each.spec.name] = psutil.Process(each.pid).memory_full_info().uss / 2**20
    return found


def judge(parameters: Parameters, fuzzed: Fuzzed) -> Result:
    every = list(fuzzed.findings.values())
    faults = [example for each in every for example in each.faults]
    leaks = [example for each in every for example in each.leaks]
    figures = {
        "requests": sum(each.total for each in every),
        "answers": {
            process: {f"{name} {code}": count for (name, code), count in found.answers.items()}
            for process, found in fuzzed.findings.items()
        },
        "faults": faults,
        "leaks": leaks,
        "growth_mib": fuzzed.growth,
        "restarts": fuzzed.restarts,
    }
    claims = [
        none("processes that died", sum(fuzzed.restarts.values())),
        none("answers UNKNOWN, INTERNAL or DATA_LOSS", len(faults)),
        none("answers that say more than they should", len(leaks)),
        *(
            at_most(f"MiB by which the {name} grew once it was warm", grown, MOST_GROWTH_MIB)
            for name, grown in fuzzed.growth.items()
        ),
        none("searches that fail afterwards", int(not fuzzed.answers_afterwards)),
    ]
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(requests=100_000),
    quick=Parameters(requests=4_000),
    observe=observe,
    judge=judge,
    options={"requests": "how many, over both processes"},
)

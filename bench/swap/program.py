"""`python -m bench swap`: users search, ask and write at a fixed rate, through two gateways, while
generations are built and swapped again and again. Nobody may notice."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import tiny
from bench.claims import Result
from bench.cluster import BenchCluster
from bench.corpus import Author, words_of
from bench.swap.aftermath import look
from bench.swap.audit import Audit
from bench.swap.ledger import Ledger
from bench.swap.load import Load
from bench.swap.refreshes import Refreshes
from bench.swap.schedule import Kind, schedule
from bench.swap.verdict import Bounds, Run, judge
from realm.client import Client, document
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads

GATEWAYS = 2
#: Requests a second; every write is followed by a search for what was written.
RATES: Mapping[Kind, float] = {
    Kind.SEARCH: 8.0,
    Kind.ANSWER: 2.0,
    Kind.UPSERT: 1.5,
    Kind.DELETE: 0.5,
}
DOCUMENTS = 400
QUICK_SECONDS = 30.0
#: With the build before it, longer than a window: windows do not overlap.
REST_SECONDS = 4.0
AUDIT_EVERY = 4
LOOK_SECONDS = 0.5
#: Refreshes of seconds: collections and files that nobody needs go soon, the gate is as always.
SETTINGS = {
    "REALM_RECONCILE_SECONDS": "0.5",
    "REALM_RETIREMENT_SECONDS": "45",
    "REALM_GATE_PROBES": "100",
    "REALM_GATE_TOLERANCE": "0.1",
}


@dataclass(frozen=True, slots=True)
class Plan:
    seconds: float
    seed: int
    bounds: Bounds


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts")


def run(options: argparse.Namespace, folder: Path) -> Result:
    """:raises RealmError: if the cluster does not come up."""
    set_threads(1)
    seconds = QUICK_SECONDS if options.quick else options.minutes * 60
    plan = Plan(seconds, options.seed, Bounds.of(quick=options.quick))
    model = tiny.tiny_model(options.seed)
    author = Author(words_of(tiny.vocabulary(model)), options.seed)
    with BenchCluster(folder, SETTINGS, GATEWAYS) as cluster:
        ledger = Ledger()
        fill(cluster, author, ledger)
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        with Audit(cluster.store.url, AUDIT_EVERY) as audit:
            observed = asyncio.run(_observe(cluster, plan, model, author, ledger, audit))
    return judge(observed, plan.bounds, plan.seed)


def fill(cluster: BenchCluster, author: Author, ledger: Ledger, count: int = DOCUMENTS) -> None:
    """Writes the documents that a bench begins with, and notes them as acknowledged."""
    documents = [author.write(f"base-{number}", 0) for number in range(count)]
    messages = [document(each.id, each.text, title=each.title) for each in documents]
    with Client(cluster.gateways[0], timeout=60) as client:
        version = client.upsert(messages).corpus_version
    for each in documents:
        ledger.acknowledged(each.id, 0, version)


async def _observe(
    cluster: BenchCluster, plan: Plan, model: Model, author: Author, ledger: Ledger, audit: Audit
) -> Run:
    load = Load(cluster.gateways, author, ledger, plan.seed, audit.offer)
    refreshes = Refreshes(
        cluster.store, cluster.redis_url, model, plan.seed, REST_SECONDS, audit.prepare
    )
    stop = asyncio.Event()
    keeping = asyncio.create_task(keep_up(cluster))
    refreshing = asyncio.create_task(refreshes.run(stop))
    began = time.time()
    try:
        await load.run(schedule(RATES, plan.seconds))
        ended = time.time()
        stop.set()
        await refreshing
        if keeping.done():
            keeping.result()  # raises what ended it: a process that cannot start
        aftermath = await look(
            cluster.gateways, cluster.store, cluster.qdrant_url, author, ledger, load.written
        )
    finally:
        refreshing.cancel()
        keeping.cancel()
    return Run(
        began=began,
        ended=ended,
        visits=load.visits,
        refreshes=refreshes.ended,
        ledger=ledger,
        aftermath=aftermath,
        verdicts=audit.verdicts(),
        restarts=cluster.restarts,
        store=cluster.store,
    )


async def keep_up(cluster: BenchCluster) -> None:
    """The supervisor's round: whatever dies is started again, and counted."""
    while True:
        cluster.supervisor.restart_dead()
        await asyncio.sleep(LOOK_SECONDS)

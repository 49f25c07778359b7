"""`python -m bench chaos`: users search, ask and write at a fixed rate while processes are killed
and stopped, Redis is wiped, files are damaged and live loses points. Nothing acknowledged may be
lost."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import tiny
from bench.chaos.chaos import Chaos
from bench.chaos.convergence import settle
from bench.chaos.damage import damages, lossy
from bench.chaos.faults import plan
from bench.chaos.pulse import Pulse, deaths
from bench.chaos.verdict import Bounds, Run, judge
from bench.claims import Result
from bench.cluster import BenchCluster
from bench.corpus import Author, words_of
from bench.swap.aftermath import Aftermath, look
from bench.swap.audit import Audit
from bench.swap.ledger import Ledger
from bench.swap.load import Load
from bench.swap.program import fill, keep_up
from bench.swap.refreshes import Refreshes
from bench.swap.schedule import Kind, schedule
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads
from realm.records.generations import Generations

GATEWAYS = 2
#: Requests a second; every write is followed by a search for what was written.
RATES: Mapping[Kind, float] = {
    Kind.SEARCH: 4.0,
    Kind.ANSWER: 1.0,
    Kind.UPSERT: 1.0,
    Kind.DELETE: 0.4,
}
#: Longer than the longest stop, with room for what had to wait.
DEADLINE_SECONDS = 60.0
REST_SECONDS = 2.0
AUDIT_EVERY = 3
QUESTIONS = 20
SETTINGS = {
    "REALM_RECONCILE_SECONDS": "0.5",
    "REALM_RETIREMENT_SECONDS": "60",
    "REALM_GATE_PROBES": "60",
    "REALM_GATE_TOLERANCE": "0.2",
    "REALM_REQUEST_AGAIN_SECONDS": "5",
    "REALM_LEADER_WAIT_SECONDS": "45",
    "REALM_LEASE_SECONDS": "4",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of load; a fault every `mean` seconds on average; the longest stop."""

    seconds: float
    mean: float
    longest_stop: float
    seed: int
    bounds: Bounds

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        bounds = Bounds.of(quick=options.quick)
        if options.quick:
            return cls(30.0, 4.0, 6.0, options.seed, bounds)
        return cls(options.minutes * 60, 10.0, 30.0, options.seed, bounds)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=15.0, help="how long the faults last")


def run(options: argparse.Namespace, folder: Path) -> Result:
    """:raises RealmError: if the cluster does not come up."""
    set_threads(1)
    chosen = Plan.of(options)
    model = tiny.tiny_model(options.seed)
    author = Author(words_of(tiny.vocabulary(model)), options.seed)
    with BenchCluster(folder, SETTINGS, GATEWAYS, standby=True) as cluster:
        ledger = Ledger()
        fill(cluster, author, ledger)
        publish_model(cluster.snapshots, model, step=0)
        cluster.start_embedders()
        cluster.await_answers()
        with Audit(cluster.store.url, AUDIT_EVERY) as audit:
            observed = asyncio.run(_observe(cluster, chosen, model, author, ledger, audit))
    return judge(observed, chosen.bounds)


async def _observe(
    cluster: BenchCluster, chosen: Plan, model: Model, author: Author, ledger: Ledger, audit: Audit
) -> Run:
    load = Load(cluster.gateways, author, ledger, chosen.seed, audit.offer, DEADLINE_SECONDS)
    chaos = Chaos(cluster, chosen.seed, chosen.mean, lambda: _slowest(load))
    pulse = Pulse(cluster.gateways)
    refreshes = Refreshes(cluster.store, cluster.redis_url, model, chosen.seed, REST_SECONDS)
    stop = asyncio.Event()
    background = [asyncio.create_task(keep_up(cluster)), asyncio.create_task(pulse.run())]
    refreshing = asyncio.create_task(refreshes.run(stop))
    faults = plan(chosen.seed, chosen.seconds, chosen.mean, chosen.longest_stop)
    began = time.time()
    try:
        await asyncio.gather(load.run(schedule(RATES, chosen.seconds)), chaos.run(faults))
        ended = time.time()
        stop.set()
        await refreshing
        asked = [
            author.question(each, ledger.last_revision(each))
            for each in sorted(ledger.present())[:QUESTIONS]
        ]
        rest = await settle(
            cluster, tiny.changed(model, chosen.seed + 1), ledger, lossy(chaos.done), asked
        )
        aftermath = Aftermath([], [], 0)
        if rest.converged:
            aftermath = await look(
                cluster.gateways, cluster.store, cluster.qdrant_url, author, ledger, load.written
            )
    finally:
        await chaos.end()
        for task in (refreshing, *background):
            task.cancel()
    generations = Generations(cluster.store)
    history = generations.live_history()
    return Run(
        began=began,
        ended=ended,
        visits=load.visits,
        faults=chaos.done,
        damages=damages(chaos.done, history, cluster.store),
        deaths=deaths(chaos.done, cluster.cluster.gateway_names, pulse.ready),
        refreshes=refreshes.ended,
        history=history,
        ledger=ledger,
        rest=rest,
        aftermath=aftermath,
        verdicts=audit.verdicts(),
        restarts=cluster.restarts,
        generations=generations,
    )


def _slowest(load: Load) -> int:
    """The oldest generation that a gateway last answered with; 0 before all have answered."""
    newest: dict[int, tuple[float, int]] = {}
    for visit in load.visits[-200:]:
        if visit.origin:
            newest[visit.gateway] = (visit.done, visit.origin.generation)
    return min((generation for _, generation in newest.values()), default=0)

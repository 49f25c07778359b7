"""Users search, ask and write at a fixed rate while processes are killed and stopped, Redis is
wiped, files are damaged and live loses points: nothing acknowledged may be lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import tiny
from bench.chaos.convergence import Convergence, converge
from bench.chaos.damage import NEVER, Damage, damages, lossy
from bench.chaos.faults.kinds import Fault, FaultKind, chosen_kinds
from bench.chaos.injector import FaultInjector
from bench.chaos.phases import PHASES
from bench.chaos.readiness import Outage, ReadinessMonitor, outages, was_down, was_unfound
from bench.chaos.scene import Scene
from bench.chaos.schedule import fault_schedule
from bench.claims import Result, at_least, none
from bench.harness import Bench, Context
from bench.load import schedule
from bench.load.generator import LoadGenerator
from bench.load.requests import RequestRecord
from bench.load.session import SHOWN, LoadProfile, LoadSession, Observations, load_session
from bench.load.transitions import Refreshes, Transition
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads
from realm.records.generations import LiveEntry

PROFILE = LoadProfile(
    rates={
        schedule.Kind.SEARCH: 4.0,
        schedule.Kind.ANSWER: 1.0,
        schedule.Kind.UPSERT: 1.0,
        schedule.Kind.DELETE: 0.4,
    },
    audit_every=3,
    standby=True,
    # Longer than the longest stop, with room for what had to wait.
    deadline_seconds=180.0,
    settings={
        "REALM_RECONCILE_SECONDS": "0.5",
        "REALM_RETIREMENT_SECONDS": "60",
        "REALM_GATE_PROBES": "60",
        "REALM_GATE_TOLERANCE": "0.2",
        "REALM_REQUEST_AGAIN_SECONDS": "5",
        "REALM_LEADER_WAIT_SECONDS": "150",
        "REALM_LEASE_SECONDS": "4",
    },
)
DOCUMENTS = 400
REST_SECONDS = 2.0
QUESTIONS = 20
KILL = "kill"


@dataclass(frozen=True, slots=True)
class Parameters:
    """A fault every `mean` seconds on average, none longer than `longest` seconds, each kind at
    least `least` times. A short run hits fewer `phases` of a refresh and sees fewer `commits`."""

    minutes: float
    mean: float
    longest: float
    least: int
    commits: int
    phases: int
    only: str = ""
    without: str = ""
    #: Whether faults come that need `make chaos-tools`; those that `only` names always do.
    apparatus: bool = True

    def kinds(self) -> dict[str, type[FaultKind]]:
        """:raises BadSettings: naming a kind that there is not."""
        chosen = chosen_kinds(self.only, self.without)
        every = self.apparatus or self.only
        return {name: kind for name, kind in chosen.items() if every or kind.needs is None}


@dataclass(frozen=True, slots=True)
class ChaosRun:
    seen: Observations
    convergence: Convergence
    faults: Sequence[Fault]
    damages: Sequence[Damage]
    outages: Sequence[Outage]
    refreshes: Sequence[Transition]
    history: Sequence[LiveEntry]


def observe(parameters: Parameters, context: Context) -> ChaosRun:
    set_threads(1)
    model = tiny.poisoned(tiny.tiny_model(context.seed))
    with load_session(
        context,
        PROFILE,
        DOCUMENTS,
        tiny.writer(model, context.seed),
        lambda cluster: publish_model(cluster.snapshots, model, step=0),
        frozenset(kind.needs for kind in parameters.kinds().values() if kind.needs),
    ) as session:
        return asyncio.run(_observe(session, parameters, model))


async def _observe(session: LoadSession, parameters: Parameters, model: Model) -> ChaosRun:
    cluster, seed, seconds = session.cluster, session.seed, parameters.minutes * 60
    readiness = ReadinessMonitor(cluster.gateways)
    refreshes = Refreshes(cluster, model, seed, REST_SECONDS)
    kinds = parameters.kinds()
    planned = fault_schedule(
        kinds, seed, seconds, parameters.mean, parameters.longest, parameters.least
    )
    faults: Sequence[Fault] = []
    convergence = Convergence(False, 0.0, "the faults to end")

    async def inject(load: LoadGenerator, stop: asyncio.Event) -> bool:
        nonlocal convergence, faults
        scene = Scene(cluster, parameters.mean, lambda: _oldest_answering(load.records))
        faults = scene.faults
        injector = FaultInjector(scene, kinds)
        monitoring = asyncio.create_task(readiness.run())
        refreshing = asyncio.create_task(refreshes.run(stop))
        try:
            await injector.run(planned)
            await stop.wait()
            await refreshing
            questions = [
                session.writer.question(each, session.ledger.last_revision(each))
                for each in sorted(session.ledger.present())[:QUESTIONS]
            ]
            last = tiny.perturbed(model, seed + 1)
            convergence = await converge(cluster, last, session.ledger, lossy(faults), questions)
        finally:
            await injector.end()
            refreshing.cancel()
            monitoring.cancel()
        return convergence.converged

    seen = await session.observe(schedule.schedule(PROFILE.rates, seconds), inject)
    history = seen.generations.live_history()
    return ChaosRun(
        seen=seen,
        convergence=convergence,
        faults=faults,
        damages=damages(faults, history, cluster.store),
        outages=outages(faults, cluster.cluster.gateway_names, readiness.ready),
        refreshes=refreshes.ended,
        history=history,
    )


def _oldest_answering(records: Sequence[RequestRecord]) -> int:
    """The oldest generation that a gateway last answered with; 0 before any has answered."""
    newest = {each.gateway: each.origin.generation for each in records[-200:] if each.origin}
    return min(newest.values(), default=0)


def judge(parameters: Parameters, run: ChaosRun) -> Result:
    seen, convergence = run.seen, run.convergence
    failures = _sort_failures(run)
    damaged = [r for r in seen.records if any(each.excuses(r) for each in run.damages)]
    faulty = [record for record in seen.faulty(*schedule.Kind) if record not in damaged]
    answer_faults = [f"{record.kind}: {record.fault}" for record in faulty]
    wrong = [f"{record.kind}: {record.origin}" for record in seen.inconsistent]
    wrong += [*convergence.wrong_answers, *["scores of another version"] * seen.mixed]
    unhealed = [each for each in run.damages if each.replaced == NEVER]
    injected = Counter(dict.fromkeys(parameters.kinds(), 0))
    injected.update(each.kind for each in run.faults)
    phases = parameters.phases if KILL in injected else 0
    rarest = min(injected, key=lambda name: injected[name])
    hit = {each.phase for each in run.faults if each.kind == KILL} & set(PHASES)
    commits = {e.generation for e in run.history if seen.began <= e.at <= seen.ended}
    claims = [
        at_least(f"faults of the rarest kind, {rarest}", injected[rarest], parameters.least),
        at_least("generations committed under faults", len(commits), parameters.commits),
        at_least(f"phases hit by a kill, of {', '.join(PHASES)}", len(hit), phases),
        none("everything converged afterwards (0) or not (1)", int(not convergence.converged)),
        none("acknowledged writes lost", len(seen.lost)),
        none("resurrected or outdated documents", len(seen.resurrected)),
        none("wrong-version answers", len(wrong)),
        none("searches or own writes not found, questions without an answer", len(faulty)),
        none("live generations that lost something and were not replaced", len(unhealed)),
        none("passages by which a committed generation is incomplete", len(convergence.incomplete)),
        none(
            "two commits of one sequence, or an older leader's after a newer's",
            _disorder(run.history),
        ),
        none(
            "requests that failed though their client could reach its gateway",
            len(failures["unexcused"]),
        ),
    ]
    figures: dict[str, Any] = seen.figures() | {
        "faults": dict(injected),
        "killed": dict(Counter(e.target for e in run.faults if e.kind == KILL)),
        "phases_hit": sorted(hit),
        "failed_while_gateway_was_dead": len(failures["down"]),
        "failed_before_the_client_found_it_again": len(failures["unfound"]),
        "failed_or_not_found_while_live_was_damaged": sum(
            bool(record.failed or record.fault) for record in damaged
        ),
        "damages": [
            {
                "generation": each.generation,
                "noticed_after": _seconds(each.noticed - each.began),
                "replaced_after": _seconds(each.replaced - each.began),
            }
            for each in run.damages
        ],
        "commits": len(commits),
        "refreshes": dict(Counter(str(each.state) for each in run.refreshes)),
        "terms": len({entry.term for entry in run.history}),
        "converged_in_seconds": round(convergence.seconds, 1),
        "waiting_for": convergence.waiting_for,
        "looked_at": convergence.looked_at + seen.read_back.looked,
        "failures": [f"{r.kind} at {r.gateway}: {r.failed}" for r in failures["unexcused"][:SHOWN]],
        "answer_faults": answer_faults[:SHOWN],
        "wrong": wrong[:SHOWN],
        "incomplete": convergence.incomplete[:SHOWN],
        "fault_list": [
            f"{each.began - seen.began:.1f} {each.kind} {each.target} in {each.phase}"
            for each in run.faults
        ],
    }
    return Result(figures, claims)


def _sort_failures(run: ChaosRun) -> dict[str, list[RequestRecord]]:
    """Failed requests by their excuse."""
    found: dict[str, list[RequestRecord]] = {"down": [], "unfound": [], "unexcused": []}
    for record in run.seen.failed:
        if was_down(run.outages, record):
            found["down"].append(record)
        elif was_unfound(run.outages, record):
            found["unfound"].append(record)
        elif not any(each.excuses(record) for each in run.damages):
            found["unexcused"].append(record)
    return found


def _seconds(seconds: float) -> float | None:
    return None if seconds == NEVER else round(seconds, 1)


def _disorder(history: Sequence[LiveEntry]) -> int:
    sequences = [entry.sequence for entry in history]
    terms = [entry.term for entry in history]
    whole = sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    return int(not whole) + int(terms != sorted(terms))


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(minutes=20.0, mean=10.0, longest=120.0, least=2, commits=5, phases=len(PHASES)),
    quick=Parameters(
        minutes=0.5, mean=4.0, longest=6.0, least=0, commits=1, phases=1, apparatus=False
    ),
    observe=observe,
    judge=judge,
    options={
        "minutes": "how long the faults last",
        "only": "kinds of faults, separated by commas; all by default",
        "without": "kinds of faults to leave out",
    },
)

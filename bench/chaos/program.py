"""Users search, ask and write at a fixed rate while processes are killed and stopped, Redis is
wiped, files are damaged and live loses points: nothing acknowledged may be lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import tiny
from bench.chaos.convergence import Convergence, converge
from bench.chaos.damage import NEVER, Damage, damages, lossy
from bench.chaos.excuses import Excuses
from bench.chaos.faults.kinds import Fault, FaultKind, chosen_kinds
from bench.chaos.injector import FaultInjector
from bench.chaos.phases import PHASES
from bench.chaos.readiness import ReadinessMonitor
from bench.chaos.scene import Scene
from bench.chaos.schedule import fault_schedule
from bench.chaos.sightings import Sightings
from bench.claims import Result, at_least, none
from bench.harness import Bench, Context
from bench.history.events import Disturbed, Excuse
from bench.history.events import Kind as Request
from bench.history.recorder import Recorder
from bench.load import schedule
from bench.load.session import SHOWN, LoadProfile, LoadSession, Observations, load_session
from bench.load.transitions import Refreshes, Transition
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads
from realm.records.generation import LiveEntry
from realm.records.generations import Generations

PROFILE = LoadProfile(
    rates={
        Request.SEARCH: 4.0,
        Request.ANSWER: 1.0,
        Request.UPSERT: 1.0,
        Request.DELETE: 0.4,
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
    audited: int
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
    #: Has read every record before it is damaged, and keeps what it read.
    generations = Generations(cluster.store)
    sightings = Sightings(generations, cluster.store)
    scene = Scene(
        cluster, generations, parameters.mean, lambda: _oldest_answering(session.recorder)
    )
    convergence = Convergence(False, 0.0, "the faults to end")

    async def inject(stop: asyncio.Event) -> bool:
        nonlocal convergence
        injector = FaultInjector(scene, kinds)
        monitoring = asyncio.create_task(readiness.run())
        refreshing = asyncio.create_task(refreshes.run(stop))
        looking = asyncio.create_task(sightings.run())
        try:
            await injector.run(planned)
            await stop.wait()
            await refreshing
            last = tiny.perturbed(model, seed + 1)
            convergence = await converge(
                cluster, last, session.believed.version, lossy(scene.faults), _questions(session)
            )
        finally:
            await injector.end()
            for task in (refreshing, monitoring, looking):
                task.cancel()
            found = damages(scene.faults, sightings.history(), sightings.noticed)
            excuses = Excuses(cluster.cluster.gateway_names, readiness.ready)
            record_faults(session.recorder, scene.faults, excuses.of(scene.faults, found))
        return convergence.converged

    seen = await session.observe(schedule.schedule(PROFILE.rates, seconds), inject)
    history = sightings.history()
    return ChaosRun(
        seen=seen,
        convergence=convergence,
        faults=scene.faults,
        damages=damages(scene.faults, history, sightings.noticed),
        refreshes=refreshes.ended,
        history=history,
    )


def _questions(session: LoadSession) -> list[str]:
    """Each finds its document."""
    present = sorted(session.believed.present().items())[:QUESTIONS]
    return [session.writer.question(document, revision) for document, revision in present]


def _oldest_answering(recorder: Recorder) -> int:
    """The oldest generation that a gateway last answered with; 0 before any has answered."""
    return min(recorder.answering.values(), default=0)


def record_faults(recorder: Recorder, faults: Sequence[Fault], excuses: Iterable[Excuse]) -> None:
    """What happened, and which failures it excuses."""
    for fault in faults:
        recorder.record(Disturbed(fault.kind, fault.target, fault.began, fault.ended))
    for excuse in excuses:
        recorder.record(excuse)


def judge(parameters: Parameters, run: ChaosRun) -> Result:
    seen, convergence = run.seen, run.convergence
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
        *seen.claims(parameters.audited),
        none("searches that differ from an exact one at the end", len(convergence.wrong_answers)),
        none("live generations that lost something and were not replaced", len(unhealed)),
        none("passages by which a committed generation is incomplete", len(convergence.incomplete)),
        none(
            "two commits of one sequence, or an older leader's after a newer's",
            _disorder(run.history),
        ),
    ]
    figures: dict[str, Any] = seen.figures() | {
        "faults": dict(injected),
        "killed": dict(Counter(e.target for e in run.faults if e.kind == KILL)),
        "phases_hit": sorted(hit),
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
        "passages_compared": convergence.looked_at,
        "wrong_answers": convergence.wrong_answers[:SHOWN],
        "incomplete": convergence.incomplete[:SHOWN],
        "fault_list": [
            f"{each.began - seen.began:.1f} {each.kind} {each.target} in {each.phase}"
            for each in run.faults
        ],
    }
    return Result(figures, claims)


def _seconds(seconds: float) -> float | None:
    return None if seconds == NEVER else round(seconds, 1)


def _disorder(history: Sequence[LiveEntry]) -> int:
    sequences = [entry.sequence for entry in history]
    terms = [entry.term for entry in history]
    whole = sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    return int(not whole) + int(terms != sorted(terms))


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(
        minutes=20.0, mean=10.0, longest=120.0, least=2, commits=5, phases=len(PHASES), audited=100
    ),
    quick=Parameters(
        minutes=0.5,
        mean=4.0,
        longest=6.0,
        least=0,
        commits=1,
        phases=1,
        audited=10,
        apparatus=False,
    ),
    observe=observe,
    judge=judge,
    options={
        "minutes": "how long the faults last",
        "only": "kinds of faults, separated by commas; all by default",
        "without": "kinds of faults to leave out",
        "longest": "the longest that a fault may last, in seconds",
    },
)

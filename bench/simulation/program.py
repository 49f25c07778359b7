"""The product's indexers, embedders and gateways over a simulated store, Qdrant, Redis and clock:
thousands of schedules, each of which follows from its seed, and none breaks an invariant."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

from bench.claims import Claim, Result, at_least, none
from bench.harness import Bench, Context
from bench.simulation.plan import draw
from bench.simulation.rare import RARE
from bench.simulation.search import Found, explore_on_all, seed_of, shorten, simulating
from bench.simulation.world import Outcome, run

#: Steps of a failure's trace that are printed.
SHOWN = 80
#: Of a run of five minutes on two processors.
WANTED_A_MINUTE = 4_000


@dataclass(frozen=True, slots=True)
class Parameters:
    """`schedule` is the one to replay (-1: none), `only` the places of what is to happen in it
    (all: everything); `most` schedules are run in the time at the most."""

    minutes: float
    most: int = 10_000_000
    schedule: int = -1
    only: str = "all"
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Observations:
    found: Found
    workers: int
    shortest: Outcome | None = None


def observe(parameters: Parameters, context: Context) -> Observations:
    if parameters.schedule >= 0:
        return _replay(parameters, context.seed)
    workers = len(os.sched_getaffinity(0))
    seconds = 60 * parameters.minutes
    found = explore_on_all(context.seed, workers, parameters.most, seconds)
    if not found.failures:
        return Observations(found, workers)
    number = found.failures[0][0]
    with simulating():
        kept, shortest = shorten(draw(seed_of(context.seed, number)))
    _tell(shortest, context.seed, number, ",".join(map(str, kept)) or "none")
    return Observations(found, workers, shortest)


def _replay(parameters: Parameters, seed: int) -> Observations:
    plan = draw(seed_of(seed, parameters.schedule))
    if parameters.only != "all":
        places = parameters.only.split(",") if parameters.only != "none" else []
        plan = plan.only([int(each) for each in places])
    found = Found()
    with simulating():
        outcome = run(plan)
    found.add(parameters.schedule, outcome)
    _tell(outcome, seed, parameters.schedule, parameters.only)
    return Observations(found, 1, outcome if outcome.failure else None)


def _tell(outcome: Outcome, seed: int, number: int, only: str) -> None:
    """The seed, the steps that led to it, and the command that replays it."""
    plan = outcome.plan
    lines = [
        f"schedule {number} of seed {seed}: {outcome.failure or 'every invariant holds'}",
        f"{plan.beginning}; {plan.indexers} indexers, {plan.gateways} gateways, {plan.embedders}"
        f" embedders; {'one machine' if plan.one_machine else 'a machine each'}",
        *(f"  {part}" for part in plan.parts()),
        *map(str, outcome.trace[-SHOWN:]),
        f"replay: python -m bench simulate --seed {seed} --schedule {number} --only {only}",
    ]
    sys.stderr.write("\n".join(lines) + "\n")


def judge(parameters: Parameters, seen: Observations) -> Result:
    found = seen.found
    figures = {
        "schedules": found.schedules,
        "steps": found.steps,
        "simulated_hours": round(found.simulated_seconds / 3600, 1),
        "processors": seen.workers,
        "processor_seconds": round(found.processor_seconds, 1),
        "reached": dict(sorted(found.reached.items())),
        "failures": [{"schedule": number, "what": what} for number, what in found.failures],
    }
    claims: list[Claim] = [none("schedules that broke an invariant", len(found.failures))]
    if parameters.whole and parameters.schedule < 0:
        wanted = WANTED_A_MINUTE * parameters.minutes
        claims.append(at_least("schedules", found.schedules, wanted))
        claims += [at_least(f"reached: {state}", found.reached[state], 1) for state in RARE]
    return Result(figures, claims)


FULL = Parameters(minutes=5.0)
BENCH = Bench(
    description=__doc__ or "",
    full=FULL,
    quick=replace(FULL, minutes=0.5, whole=False),
    observe=observe,
    judge=judge,
    options={
        "minutes": "for how long",
        "most": "how many schedules at the most",
        "schedule": "replay this schedule of the seed",
        "only": "of what happens in it only these, as the report of a failure names them",
    },
)

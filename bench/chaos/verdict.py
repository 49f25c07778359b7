"""From everything that was observed under faults to claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from bench.chaos.chaos import PHASES
from bench.chaos.convergence import Rest
from bench.chaos.damage import NEVER, Damage
from bench.chaos.faults import Done, Kind
from bench.chaos.pulse import Death, was_dead, was_unfound
from bench.claims import Claim, Result, at_least, none
from bench.swap.aftermath import Aftermath
from bench.swap.ledger import Ledger
from bench.swap.refreshes import Refresh
from bench.swap.visits import Visit, sightings
from realm.records.generations import Generations, LiveEntry
from services.standalone.load.audit import Verdict

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """A short run hits some phases only, and says so."""

    commits: int
    phases: int

    @classmethod
    def of(cls, *, quick: bool) -> Self:
        return cls(1, 1) if quick else cls(5, len(PHASES))


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was observed. Times are Unix times."""

    began: float
    ended: float
    visits: Sequence[Visit]
    faults: Sequence[Done]
    damages: Sequence[Damage]
    deaths: Sequence[Death]
    refreshes: Sequence[Refresh]
    history: Sequence[LiveEntry]
    ledger: Ledger
    rest: Rest
    aftermath: Aftermath
    verdicts: dict[str, int]
    restarts: dict[str, int]
    generations: Generations


def judge(run: Run, bounds: Bounds) -> Result:
    failed = [visit for visit in run.visits if visit.failed]
    excused = [v for v in failed if was_dead(run.deaths, v.gateway, v.sent, v.done)]
    unfound = [v for v in failed if v not in excused and was_unfound(run.deaths, v.gateway, v.sent)]
    lacking = [v for v in run.visits if any(each.excuses(v) for each in run.damages)]
    others = [
        visit
        for visit in failed
        if visit not in excused and visit not in unfound and visit not in lacking
    ]
    unhealed = [each for each in run.damages if each.replaced == NEVER]
    seen = sightings(run.visits)
    outdated = [str(each) for each in seen if run.ledger.is_outdated(each)]
    unheard = [str(each) for each in seen if run.ledger.is_unheard_of(each)]
    wrong = [*_names_disagree(run), *run.rest.wrong_answers]
    wrong += ["scores of another version"] * run.verdicts.get(Verdict.MIXED, 0)
    faulty = [visit for visit in run.visits if visit.fault and visit not in lacking]
    faults = [f"{visit.kind}: {visit.fault}" for visit in faulty]
    commits = _commits(run)
    hit = {each.phase for each in run.faults if each.kind is Kind.KILL} & set(PHASES)
    lost = [*run.aftermath.lost, *unheard]
    resurrected = [*run.aftermath.resurrected, *outdated]
    claims: list[Claim] = [
        at_least("generations committed under faults", commits, bounds.commits),
        at_least(f"phases hit by a kill, of {', '.join(PHASES)}", len(hit), bounds.phases),
        none("everything converged afterwards (0) or not (1)", int(not run.rest.converged)),
        none("acknowledged writes lost", len(lost)),
        none("resurrected or outdated documents", len(resurrected)),
        none("wrong-version answers", len(wrong)),
        none("searches or own writes not found, questions without an answer", len(faults)),
        none("live generations that lost something and were not replaced", len(unhealed)),
        none("passages by which a committed generation is incomplete", len(run.rest.incomplete)),
        none("two commits of one sequence, or an older leader's after a newer's", _disorder(run)),
        none("requests that failed though their client could reach its gateway", len(others)),
    ]
    figures: dict[str, Any] = {
        "seconds": round(run.ended - run.began, 1),
        "faults": dict(Counter(str(each.kind) for each in run.faults)),
        "killed": dict(Counter(e.target for e in run.faults if e.kind is Kind.KILL)),
        "phases_hit": sorted(hit),
        "requests": dict(Counter(str(visit.kind) for visit in run.visits)),
        "failed_while_gateway_was_dead": len(excused),
        "failed_before_the_client_found_it_again": len(unfound),
        "failed_or_not_found_while_live_was_damaged": sum(
            bool(visit.failed or visit.fault) for visit in lacking
        ),
        "damages": [
            {
                "generation": each.generation,
                "noticed_after": _seconds(each.noticed - each.began),
                "replaced_after": _seconds(each.replaced - each.began),
            }
            for each in run.damages
        ],
        "commits": commits,
        "refreshes": dict(Counter(str(each.state) for each in run.refreshes)),
        "terms": len({entry.term for entry in run.history}),
        "converged_in_seconds": round(run.rest.seconds, 1),
        "waiting_for": run.rest.waiting_for,
        "looked_at": run.rest.looked_at + run.aftermath.looked,
        "audit": run.verdicts,
        "restarts": run.restarts,
        "failures": [f"{v.kind} at {v.gateway}: {v.failed}" for v in others][:SHOWN],
        "answer_faults": faults[:SHOWN],
        "lost": lost[:SHOWN],
        "resurrected": resurrected[:SHOWN],
        "wrong": wrong[:SHOWN],
        "incomplete": run.rest.incomplete[:SHOWN],
        "fault_list": [
            f"{each.began - run.began:.1f} {each.kind} {each.target} in {each.phase}"
            for each in run.faults
        ],
    }
    return Result(figures, claims)


def _seconds(seconds: float) -> float | None:
    return None if seconds == NEVER else round(seconds, 1)


def _commits(run: Run) -> int:
    """Generations that went live, a leader's taking over not counted."""
    return len({entry.generation for entry in run.history if run.began <= entry.at <= run.ended})


def _disorder(run: Run) -> int:
    sequences = [entry.sequence for entry in run.history]
    terms = [entry.term for entry in run.history]
    whole = sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    return int(not whole) + int(terms != sorted(terms))


def _names_disagree(run: Run) -> list[str]:
    found = []
    for visit in run.visits:
        if visit.origin is None:
            continue
        generation = run.generations.get(visit.origin.generation)
        if (visit.origin.snapshot, visit.origin.step) != (generation.snapshot, generation.step):
            found.append(f"{visit.kind}: {visit.origin}")
    return found

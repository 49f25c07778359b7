"""From what was observed while encoders were exchanged to claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.claims import Result, at_least, none
from bench.statistics import quantile
from bench.swap.aftermath import Aftermath
from bench.swap.ledger import Ledger
from bench.swap.schedule import Kind as Request
from bench.swap.visits import READS, Visit, sightings
from bench.switch.steps import Kind, Step
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from services.standalone.load.audit import Verdict

SHOWN = 20
WRITES = frozenset({Request.UPSERT, Request.DELETE})


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was observed. Times are Unix times."""

    began: float
    ended: float
    visits: Sequence[Visit]
    steps: Sequence[Step]
    ledger: Ledger
    aftermath: Aftermath
    verdicts: dict[str, int]
    restarts: dict[str, int]
    store: Store


def judge(run: Run, *, quick: bool) -> Result:
    seen = sightings(run.visits)
    outdated = [str(each) for each in seen if run.ledger.is_outdated(each)]
    unheard = [str(each) for each in seen if run.ledger.is_unheard_of(each)]
    failed = [visit for visit in run.visits if visit.failed]
    fresh = [v for v in run.visits if v.fault and v.kind is Request.FRESH]
    silent = [v for v in run.visits if v.fault and v.kind is not Request.FRESH]
    moved = [each for each in run.steps if each.state is State.LIVE]
    worse = [each for each in run.steps if each.kind is Kind.WORSE]
    unfit = [each for each in run.steps if not each.as_meant]
    lost = [*run.aftermath.lost, *unheard]
    resurrected = [*run.aftermath.resurrected, *outdated]
    by_encoder = _answers_by_encoder(run)
    audited = run.verdicts.get(Verdict.ONE_VERSION, 0) + run.verdicts.get(Verdict.MIXED, 0)
    claims = [
        at_least("moves to an encoder of another width and tokenizer", len(moved), 3),
        at_least("encoders that answered under load", len(by_encoder), 2 if quick else 3),
        none("failed requests", len(failed)),
        none(
            "mixed-version answers: scores recomputed from the store",
            run.verdicts.get(Verdict.MIXED, 0),
        ),
        none(
            "mixed-version answers: generation, snapshot, step disagree", len(_names_disagree(run))
        ),
        at_least("responses whose scores were recomputed", audited, 10),
        at_least("fewest writes acknowledged during a move", _fewest_writes(run, moved), 1),
        none("lost documents, in live and in the retained encoder's index", len(lost)),
        none("resurrected or outdated documents", len(resurrected)),
        none("at_least violations: own write not found, or an older version", len(fresh)),
        none("questions without an answer", len(silent)),
        at_least("worse encoders refused by the gate", len(worse) - _count_live(worse), 1),
        none("steps that did not end as meant", len(unfit)),
        none("processes that died", sum(run.restarts.values())),
    ]
    figures = {
        "seconds": round(run.ended - run.began, 1),
        "requests": dict(Counter(str(visit.kind) for visit in run.visits)),
        "steps": [_described(each) for each in run.steps],
        "read_latency_ms": _latency(run.visits),
        "answers_by_encoder": by_encoder,
        "documents": len(run.ledger),
        "corpus_versions": run.ledger.newest_version,
        "looked_at_afterwards": run.aftermath.looked,
        "audit": run.verdicts,
        "restarts": run.restarts,
        "failures": [visit.failed for visit in failed][:SHOWN],
        "faults": [f"{each.kind}: {each.fault}" for each in (*fresh, *silent)][:SHOWN],
        "lost": lost[:SHOWN],
        "resurrected": resurrected[:SHOWN],
    }
    return Result(figures, claims)


def _count_live(steps: Sequence[Step]) -> int:
    return sum(each.state is not State.REJECTED for each in steps)


def _described(step: Step) -> str:
    made = step.generation
    where = f"{made.vector_size} dimensions, cut {made.fingerprint}" if made else "nothing"
    return f"{step.kind}: {where}, {step.state}, {step.ended - step.began:.1f} s" + (
        f" ({step.why})" if step.why else ""
    )


def _fewest_writes(run: Run, moves: Sequence[Step]) -> int:
    """Of each move that was built (a rollback takes a moment): writes acknowledged meanwhile."""
    done = [v.done for v in run.visits if v.kind in WRITES and not v.failed]
    built = [each for each in moves if each.kind is not Kind.ROLLBACK]
    return min((sum(b.began <= at <= b.ended for at in done) for b in built), default=0)


def _answers_by_encoder(run: Run) -> dict[str, int]:
    """How many responses came of which tokenizer and width."""
    generations = Generations(run.store)
    found: Counter[str] = Counter()
    for visit in run.visits:
        if visit.origin is not None:
            made = generations.get(visit.origin.generation)
            found[f"{made.fingerprint}, {made.vector_size} dimensions"] += 1
    return dict(found)


def _names_disagree(run: Run) -> list[Visit]:
    generations = Generations(run.store)
    found = []
    for visit in run.visits:
        if visit.origin is not None:
            made = generations.get(visit.origin.generation)
            if (visit.origin.snapshot, visit.origin.step) != (made.snapshot, made.step):
                found.append(visit)
    return found


def _latency(visits: Sequence[Visit]) -> dict[str, Any]:
    mine = [each.latency for each in visits if each.kind in READS and not each.failed]
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(1000 * quantile(mine, share), 1) for name, share in shares.items()}

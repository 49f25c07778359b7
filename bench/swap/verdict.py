"""From everything that was observed to claims: pure, but for the manifests it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from bench.claims import Claim, Result, at_least, at_most, none
from bench.statistics import quantile, ratio_upper_bound
from bench.swap.aftermath import Aftermath
from bench.swap.ledger import Ledger
from bench.swap.refreshes import Refresh
from bench.swap.schedule import Kind
from bench.swap.visits import READS, Visit, sightings, went_back, windows
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from services.standalone.load.audit import Verdict

#: Around the commit, half of it before.
WINDOW_SECONDS = 5.0
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """`ratio` is None where there are too few swaps to say anything about the 99th percentile."""

    swaps: int
    audited: int
    ratio: float | None

    @classmethod
    def of(cls, *, quick: bool) -> Self:
        return cls(1, 10, None) if quick else cls(20, 100, 1.5)


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was observed. Times are Unix times."""

    began: float
    ended: float
    visits: Sequence[Visit]
    refreshes: Sequence[Refresh]
    ledger: Ledger
    aftermath: Aftermath
    verdicts: dict[str, int]
    restarts: dict[str, int]
    store: Store


def judge(run: Run, bounds: Bounds, seed: int) -> Result:
    seen = sightings(run.visits)
    outdated = [str(each) for each in seen if run.ledger.is_outdated(each)]
    unheard = [str(each) for each in seen if run.ledger.is_unheard_of(each)]
    failed = [visit for visit in run.visits if visit.failed]
    faults = [visit for visit in run.visits if visit.fault]
    fresh = [visit for visit in faults if visit.kind is Kind.FRESH]
    missed = [visit for visit in faults if visit.kind is Kind.SEARCH]
    disagree = _names_disagree(run.visits, Generations(run.store))
    back = went_back(run.visits)
    spoilt = _from_spoilt(run)
    swaps = _swaps(run)
    mixed = run.verdicts.get(Verdict.MIXED, 0)
    ratio, latency = _latency(run, seed)
    unfit = [each for each in run.refreshes if not each.as_meant]
    lost = [*run.aftermath.lost, *unheard]
    resurrected = [*run.aftermath.resurrected, *outdated]
    claims = [
        at_least("swaps under load", len(swaps), bounds.swaps),
        none("failed requests", len(failed)),
        none("mixed-version answers: scores recomputed from the store", mixed),
        none("mixed-version answers: generation, snapshot, step disagree", len(disagree)),
        at_least("responses whose scores were recomputed", _audited(run), bounds.audited),
        none("lost documents", len(lost)),
        none("resurrected or outdated documents", len(resurrected)),
        none("at_least violations: own write not found, or an older version", len(fresh)),
        none("answers older than an earlier one of the same gateway", len(back)),
        none("searches that did not find the document asked for", len(missed)),
        none("questions without an answer", len(faults) - len(fresh) - len(missed)),
        none("answers from a spoilt snapshot", len(spoilt)),
        none("refreshes that did not end as meant", len(unfit)),
        none("processes that died", sum(run.restarts.values())),
    ]
    if bounds.ratio is not None:
        claims.append(_ratio_claim(ratio, bounds.ratio))
    figures = {
        "seconds": round(run.ended - run.began, 1),
        "requests": dict(Counter(str(visit.kind) for visit in run.visits)),
        "swaps": len(swaps),
        "refused": sum(each.state is State.REJECTED for each in run.refreshes),
        "refresh_seconds": _quantiles([each.ended - each.published for each in run.refreshes]),
        "flip_seconds": _quantiles(_flips(run, swaps)),
        "latency_ms": latency,
        "documents": len(run.ledger),
        "corpus_versions": run.ledger.newest_version,
        "looked_at_afterwards": run.aftermath.looked,
        "audit": run.verdicts,
        "restarts": run.restarts,
        "refreshes_not_as_meant": [f"{each.state}: {each.why}" for each in unfit],
        "failures": _first(visit.failed for visit in failed),
        "faults": _first(f"{visit.kind}: {visit.fault}" for visit in faults),
        "lost": lost[:SHOWN],
        "resurrected": resurrected[:SHOWN],
        "went_back": _first(map(str, back)),
    }
    return Result(figures, claims)


def _swaps(run: Run) -> list[Refresh]:
    return [
        each
        for each in run.refreshes
        if each.state is State.LIVE and run.began <= each.ended <= run.ended
    ]


def _ratio_claim(ratio: float, bound: float) -> Claim:
    return at_most(
        f"p99 of searches and answers in the {WINDOW_SECONDS:g} s around a swap over that around"
        " the end of a build without one: upper 95% bound",
        ratio,
        bound,
    )


def _latency(run: Run, seed: int) -> tuple[float, dict[str, Any]]:
    """The bound of the ratio, and quantiles in milliseconds by where and what."""
    swapped = [each.ended for each in _swaps(run)]
    refused = [each.ended for each in run.refreshes if each.state is State.REJECTED]
    around = windows(run.visits, swapped, WINDOW_SECONDS, READS)
    control = windows(run.visits, refused, WINDOW_SECONDS, READS)
    ratio = ratio_upper_bound(around, control, 0.99, seed)
    figures: dict[str, Any] = {
        "around_swaps": _milliseconds([each for window in around for each in window]),
        "around_refusals": _milliseconds([each for window in control for each in window]),
        "ratio_upper_bound": ratio,
    }
    for kind in Kind:
        mine = [visit.latency for visit in run.visits if visit.kind is kind and not visit.failed]
        figures[str(kind)] = _milliseconds(mine)
    return ratio, figures


def _flips(run: Run, swaps: Sequence[Refresh]) -> list[float]:
    """From each commit until the last gateway gave its first answer of the new generation."""
    found = []
    for swap in swaps:
        firsts: dict[int, float] = {}
        for visit in run.visits:
            if visit.origin and visit.origin.generation == swap.generation:
                firsts[visit.gateway] = min(visit.done, firsts.get(visit.gateway, visit.done))
        if firsts:
            found.append(max(firsts.values()) - swap.ended)
    return found


def _names_disagree(visits: Sequence[Visit], generations: Generations) -> list[Visit]:
    found = []
    for visit in visits:
        if visit.origin is None:
            continue
        generation = generations.get(visit.origin.generation)
        if (visit.origin.snapshot, visit.origin.step) != (generation.snapshot, generation.step):
            found.append(visit)
    return found


def _from_spoilt(run: Run) -> list[Visit]:
    spoilt = {each.snapshot for each in run.refreshes if each.spoilt}
    return [visit for visit in run.visits if visit.origin and visit.origin.snapshot in spoilt]


def _audited(run: Run) -> int:
    return run.verdicts.get(Verdict.ONE_VERSION, 0) + run.verdicts.get(Verdict.MIXED, 0)


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    found = _quantiles(seconds)
    return {name: round(value * 1000, 1) for name, value in found.items()} | {"n": len(seconds)}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        name: round(quantile(values, share), 4)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def _first(words: Any) -> list[str]:
    return list(words)[:SHOWN]

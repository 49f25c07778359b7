"""Users search, ask and write at a fixed rate, through two gateways, while generations are built
and swapped again and again: none of them may notice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import tiny
from bench.claims import Claim, Result, at_least, at_most, none
from bench.harness import Bench, Context
from bench.history.events import READS, Kind
from bench.history.history import Operation
from bench.load.schedule import schedule
from bench.load.session import QUICK_REFRESHES, LoadProfile, LoadSession, Observations, load_session
from bench.load.transitions import Refreshes, Transition
from bench.statistics import quantile, ratio_upper_bound
from realm.model.checkpoint import Model
from realm.model.publishing import publish_model
from realm.model.runtime import set_threads
from realm.records.states import State

PROFILE = LoadProfile(
    rates={Kind.SEARCH: 8.0, Kind.ANSWER: 2.0, Kind.UPSERT: 1.5, Kind.DELETE: 0.5},
    audit_every=4,
    settings={**QUICK_REFRESHES, "REALM_GATE_TOLERANCE": "0.1"},
)
DOCUMENTS = 400
#: With the build before it, longer than a window: windows do not overlap.
REST_SECONDS = 4.0
#: Around the commit, half of it before.
WINDOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Parameters:
    """Length of the load and the bounds; `ratio` is None where there are too few swaps to say
    anything about the 99th percentile."""

    minutes: float
    swaps: int
    audited: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class SwapRun:
    seen: Observations
    refreshes: Sequence[Transition]
    seed: int

    def swaps(self) -> list[Transition]:
        return [
            each
            for each in self.refreshes
            if each.state is State.LIVE and self.seen.began <= each.ended <= self.seen.ended
        ]


def observe(parameters: Parameters, context: Context) -> SwapRun:
    set_threads(1)
    model = tiny.tiny_model(context.seed)
    with load_session(
        context,
        PROFILE,
        DOCUMENTS,
        tiny.writer(model, context.seed),
        lambda cluster: publish_model(cluster.snapshots, model, step=0),
    ) as session:
        return asyncio.run(_observe(session, parameters, model))


async def _observe(session: LoadSession, parameters: Parameters, model: Model) -> SwapRun:
    refreshes = Refreshes(session.cluster, model, session.seed, REST_SECONDS, session.audit.prepare)

    async def refresh(stop: asyncio.Event) -> bool:
        await refreshes.run(stop)
        return True

    seen = await session.observe(schedule(PROFILE.rates, parameters.minutes * 60), refresh)
    return SwapRun(seen, refreshes.ended, session.seed)


def judge(parameters: Parameters, run: SwapRun) -> Result:
    seen = run.seen
    unfit = [each for each in run.refreshes if not each.as_expected]
    swaps = run.swaps()
    ratio, latency = _latency(run)
    claims = [
        at_least("swaps under load", len(swaps), parameters.swaps),
        *seen.claims(parameters.audited),
        none("refreshes that did not end as meant", len(unfit)),
        none("processes that died", sum(seen.restarts.values())),
    ]
    if parameters.ratio is not None:
        claims.append(_ratio_claim(ratio, parameters.ratio))
    refused = [each for each in run.refreshes if each.state is State.REJECTED]
    figures = seen.figures() | {
        "swaps": len(swaps),
        "refused": len(refused),
        "refresh_seconds": _quantiles([each.ended - each.began for each in run.refreshes]),
        "flip_seconds": _quantiles(_flips(seen, swaps)),
        "latency_ms": latency,
        "refreshes_not_as_meant": [f"{each.state}: {each.why}" for each in unfit],
    }
    return Result(figures, claims)


def _ratio_claim(ratio: float, bound: float) -> Claim:
    return at_most(
        f"p99 of reads that ask for no version in the {WINDOW_SECONDS:g} s around a swap, over that"
        " around the end of a build without one: upper 95% bound",
        ratio,
        bound,
    )


def _latency(run: SwapRun) -> tuple[float, dict[str, Any]]:
    """The bound of the ratio, and quantiles in milliseconds by where and what."""
    operations = run.seen.operations
    swapped = [each.ended for each in run.swaps()]
    refused = [each.ended for each in run.refreshes if each.state is State.REJECTED]
    around = windows(operations, swapped, WINDOW_SECONDS)
    control = windows(operations, refused, WINDOW_SECONDS)
    ratio = ratio_upper_bound(around, control, 0.99, run.seed)
    figures: dict[str, Any] = {
        "around_swaps": _milliseconds(each for window in around for each in window),
        "around_refusals": _milliseconds(each for window in control for each in window),
        "ratio_upper_bound": ratio,
    }
    for kind in Kind:
        figures[str(kind)] = _milliseconds(
            each.latency for each in operations if each.kind is kind and each.ok
        )
    return ratio, figures


def windows(
    operations: Iterable[Operation], moments: Sequence[float], seconds: float
) -> list[list[float]]:
    """Latencies of the reads that were due within `seconds` around each moment.

    A request belongs to the first window that holds it. One that asks for a version may wait for a
    write to be applied, which says nothing about a swap.
    """
    found: list[list[float]] = [[] for _ in moments]
    for each in operations:
        waits = each.sent.at_least or each.sent.session
        if each.kind not in READS or not each.ok or waits:
            continue
        for place, moment in enumerate(moments):
            if abs(each.sent.due - moment) <= seconds / 2:
                found[place].append(each.latency)
                break
    return found


def _flips(seen: Observations, swaps: Sequence[Transition]) -> list[float]:
    """Seconds from each commit until the last gateway gave its first answer of that generation."""
    found = []
    for swap in swaps:
        firsts: dict[int, float] = {}
        for each in seen.operations:
            origin, made = each.origin, swap.generation
            if origin and made and origin.generation == made.number:
                firsts[each.gateway] = min(each.done, firsts.get(each.gateway, each.done))
        if firsts:
            found.append(max(firsts.values()) - swap.ended)
    return found


def _milliseconds(seconds: Iterable[float]) -> dict[str, float]:
    values = list(seconds)
    found = _quantiles(values)
    return {name: round(value * 1000, 1) for name, value in found.items()} | {"n": len(values)}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(quantile(values, share), 4) for name, share in shares.items()}


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(minutes=10.0, swaps=20, audited=100, ratio=1.5),
    quick=Parameters(minutes=0.5, swaps=1, audited=10, ratio=None),
    observe=observe,
    judge=judge,
    options={"minutes": "how long the load lasts"},
)

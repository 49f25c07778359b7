"""What happened in a run, in figures: pure functions from what was observed to JSON."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from realm.generations import Generation, Generations, State
from services.standalone.observer import Sample
from services.standalone.visitor.audit import Verdict
from services.standalone.visitor.visits import Visit

LAG_POINTS = 200
FAILURES_SHOWN = 20
#: The indexer writes durations by phase under this prefix.
PHASE = "phase_"
#: And what it measured with probe questions under this one.
PROBE = "probe_"


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a report is made from. Times are Unix times in seconds."""

    began: float
    ended: float
    samples: Sequence[Sample]
    visits: Sequence[Visit]
    restarts: dict[str, int]


def build_report(run: Run, generations: Generations) -> dict[str, Any]:
    """The report of a run as a JSON-able dict."""
    refreshes = [
        _refresh(generations, number)
        for number in generations.numbers()
        if generations.get(number).created_at >= run.began
    ]
    went_live = [entry for entry in generations.live_history() if entry.at >= run.began]
    return {
        "machine": machine(),
        "seconds": round(run.ended - run.began, 1),
        "seconds_to_first_answer": _first_answer(run),
        "generations_live": len(went_live),
        "queries": _queries(run.visits),
        "queries_by_generation": _by_generation(run.visits),
        "refreshes": refreshes,
        "refresh_latency_seconds": _latencies(refreshes),
        "held_out_recall": _held_out_recall(refreshes),
        "trainer": _trainer(run.samples),
        "lag": _lag(run),
        "restarts": run.restarts,
    }


def machine() -> dict[str, Any]:
    """The machine, in words that make figures comparable."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def quantiles(values: Sequence[float], *shares: int) -> dict[str, float]:
    """`{"p50": …}` of values; empty without values."""
    if not values:
        return {}
    return {f"p{share}": round(float(np.percentile(values, share)), 4) for share in shares}


def _queries(visits: Sequence[Visit]) -> dict[str, Any]:
    answered = [visit for visit in visits if not visit.failed]
    milliseconds = {
        kind: quantiles([v.latency * 1000 for v in answered if v.kind == kind], 50, 99)
        for kind in ("search", "answer")
    }
    failures = [visit.failed for visit in visits if visit.failed]
    return {
        "total": len(visits),
        "failed": len(failures),
        "asked_again": sum(visit.retries > 0 for visit in visits),
        "mixed_version": sum(visit.verdict == Verdict.MIXED for visit in visits),
        "audited": sum(visit.verdict == Verdict.ONE_VERSION for visit in visits),
        "searches": sum(visit.kind == "search" for visit in visits),
        "answers": sum(visit.kind == "answer" for visit in visits),
        "latency_ms": milliseconds,
        "failures": failures[:FAILURES_SHOWN],
    }


def _by_generation(visits: Sequence[Visit]) -> dict[str, int]:
    counts = Counter(visit.generation for visit in visits if not visit.failed)
    return {str(number): counts[number] for number in sorted(counts)}


def _refresh(generations: Generations, number: int) -> dict[str, Any]:
    generation: Generation = generations.get(number)
    events = generations.events(number)
    report: dict[str, float] = {}
    for event in events:
        report.update(event.report)
    state = events[-1].state if events else State.BUILDING
    return {
        "generation": number,
        "snapshot": generation.snapshot,
        "step": generation.step,
        "state": str(state),
        "why": events[-1].why if events else "",
        "went_live": any(event.state == State.LIVE for event in events),
        "figures": report,
    }


def _latencies(refreshes: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Quantiles by phase, over refreshes that went live."""
    phases: dict[str, list[float]] = {}
    for refresh in refreshes:
        for name, value in refresh["figures"].items():
            if name.startswith(PHASE) and refresh["went_live"]:
                phases.setdefault(name.removeprefix(PHASE), []).append(value)
    return {name: quantiles(values, 50, 95, 100) for name, values in sorted(phases.items())}


def _held_out_recall(refreshes: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """What the gate measured with questions from documents that nothing trains on."""
    return [
        {"generation": refresh["generation"], "step": refresh["step"]}
        | {
            name.removeprefix(PROBE): value
            for name, value in refresh["figures"].items()
            if name.startswith(PROBE)
        }
        for refresh in refreshes
        if any(name.startswith(PROBE) for name in refresh["figures"])
    ]


def _trainer(samples: Sequence[Sample]) -> dict[str, Any]:
    steps = [(sample.at, sample.step) for sample in samples if sample.step is not None]
    if not steps:
        return {}
    (first_at, first), (last_at, last) = steps[0], steps[-1]
    newest = next((s for s in reversed(samples) if s.step is not None), None)
    minutes = max(last_at - first_at, 1.0) / 60
    return {
        "first_step": first,
        "last_step": last,
        "steps_per_minute": round((last - first) / minutes, 2),
        "losses": newest.losses if newest else {},
        "retrieval_utility": newest.retrieval_utility if newest else None,
    }


def _lag(run: Run) -> list[dict[str, float]]:
    """The index lag over time, thinned out."""
    known = [sample for sample in run.samples if sample.status and sample.status.HasField("live")]
    every = max(1, len(known) // LAG_POINTS)
    return [
        {
            "at": round(sample.at - run.began, 1),
            "steps": sample.status.live.lag_steps,
            "seconds": round(sample.status.live.lag.ToNanoseconds() / 1e9, 1),
            "generation": sample.status.live.generation,
        }
        for sample in known[::every]
        if sample.status
    ]


def _first_answer(run: Run) -> float | None:
    first = next((visit.at for visit in run.visits if not visit.failed), None)
    return round(first - run.began, 1) if first else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

"""What happened in a run, in figures: pure functions from what was observed to JSON."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realm.records.generations import Generations
from realm.reporting.history import (
    held_out_recall,
    latencies,
    quantiles,
    refreshes_since,
    swaps_since,
)
from services.standalone.load.audit import Verdict
from services.standalone.load.visits import Visit
from services.standalone.observer import Sample

LAG_POINTS = 200
FAILURES_SHOWN = 20
#: Questions are counted over so many stretches of the run, of this many seconds at least.
STRETCHES = 60
LEAST_STRETCH_SECONDS = 5.0


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
    refreshes = refreshes_since(generations, run.began)
    swaps = swaps_since(generations, run.began)
    return {
        "machine": machine(),
        "seconds": round(run.ended - run.began, 1),
        "seconds_to_first_answer": _first_answer(run),
        "generations_live": len(swaps),
        "queries": _queries(run.visits),
        "queries_by_generation": _by_generation(run.visits),
        "refreshes": refreshes,
        "refresh_latency_seconds": latencies(refreshes),
        "held_out_recall": held_out_recall(refreshes),
        "swaps": swaps,
        "questions_over_time": _over_time(run),
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


def _over_time(run: Run) -> list[dict[str, Any]]:
    """Answered and failed questions and their latency by stretch of time."""
    width = max(LEAST_STRETCH_SECONDS, (run.ended - run.began) / STRETCHES)
    stretches: dict[int, list[Visit]] = {}
    for visit in run.visits:
        stretches.setdefault(int((visit.at - run.began) // width), []).append(visit)
    return [_stretch(number * width, stretches[number]) for number in sorted(stretches)]


def _stretch(at: float, visits: Sequence[Visit]) -> dict[str, Any]:
    found = quantiles([each.latency * 1000 for each in visits if not each.failed], 50, 99)
    return {
        "at": round(at, 1),
        "answered": sum(not each.failed for each in visits),
        "failed": sum(bool(each.failed) for each in visits),
        **{f"{name}_ms": value for name, value in found.items()},
    }


def _by_generation(visits: Sequence[Visit]) -> dict[str, int]:
    counts = Counter(visit.generation for visit in visits if not visit.failed)
    return {str(number): counts[number] for number in sorted(counts)}


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

"""The report of a run: pure functions from what was observed to JSON."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.reporting.history import history, quantiles
from services.standalone.load.request_log import RequestRecord, Verdict
from services.standalone.observer import Sample

FAILURES_SHOWN = 20
#: Requests are counted over this many intervals of the run, of at least this many seconds.
INTERVALS = 60
MIN_INTERVAL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a report is made from. Times are Unix times in seconds."""

    began: float
    ended: float
    #: The trainer's first step that was seen, and its last.
    trained: Sequence[Sample]
    requests: Sequence[RequestRecord]
    restarts: dict[str, int]


def build_report(run: Run, store: Store) -> dict[str, Any]:
    """The report of a run as a JSON-able dict."""
    return {
        "machine": machine(),
        "seconds": round(run.ended - run.began, 1),
        "seconds_to_first_answer": _first_answer(run),
        "queries": _queries(run.requests),
        "queries_by_generation": _by_generation(run.requests),
        **history(Generations(store), Snapshots(store), run.began, run.ended),
        "questions_over_time": _over_time(run),
        "trainer": _trainer(run.trained),
        "restarts": run.restarts,
    }


def machine() -> dict[str, Any]:
    """The machine, so that figures can be compared."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def _queries(requests: Sequence[RequestRecord]) -> dict[str, Any]:
    answered = [each for each in requests if not each.failed]
    milliseconds = {
        kind: quantiles([each.latency * 1000 for each in answered if each.kind == kind], 50, 99)
        for kind in ("search", "answer")
    }
    failures = [each.failed for each in requests if each.failed]
    return {
        "total": len(requests),
        "failed": len(failures),
        "asked_again": sum(each.retries > 0 for each in requests),
        "mixed_version": sum(each.verdict == Verdict.MIXED for each in requests),
        "audited": sum(each.verdict == Verdict.ONE_VERSION for each in requests),
        "searches": sum(each.kind == "search" for each in requests),
        "answers": sum(each.kind == "answer" for each in requests),
        "latency_ms": milliseconds,
        "failures": failures[:FAILURES_SHOWN],
    }


def _over_time(run: Run) -> list[dict[str, Any]]:
    """Answered and failed requests and their latency by interval."""
    width = max(MIN_INTERVAL_SECONDS, (run.ended - run.began) / INTERVALS)
    intervals: dict[int, list[RequestRecord]] = {}
    for each in run.requests:
        intervals.setdefault(int((each.at - run.began) // width), []).append(each)
    return [_interval(number * width, intervals[number]) for number in sorted(intervals)]


def _interval(at: float, requests: Sequence[RequestRecord]) -> dict[str, Any]:
    found = quantiles([each.latency * 1000 for each in requests if not each.failed], 50, 99)
    return {
        "at": round(at, 1),
        "answered": sum(not each.failed for each in requests),
        "failed": sum(bool(each.failed) for each in requests),
        **{f"{name}_ms": value for name, value in found.items()},
    }


def _by_generation(requests: Sequence[RequestRecord]) -> dict[str, int]:
    counts = Counter(each.generation for each in requests if not each.failed)
    return {str(number): counts[number] for number in sorted(counts)}


def _trainer(trained: Sequence[Sample]) -> dict[str, Any]:
    if not trained:
        return {}
    first, last = trained[0], trained[-1]
    minutes = max(last.at - first.at, 1.0) / 60
    steps = (last.step or 0) - (first.step or 0)
    return {
        "first_step": first.step,
        "last_step": last.step,
        "steps_per_minute": round(steps / minutes, 2),
        "losses": last.losses,
        "retrieval_utility": last.retrieval_utility,
    }


def _first_answer(run: Run) -> float | None:
    first = next((each.at for each in run.requests if not each.failed), None)
    return round(first - run.began, 1) if first else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

"""The report of a run: pure functions from what was observed to JSON."""

from __future__ import annotations

import os
import platform
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
    requests: Iterable[RequestRecord]
    restarts: dict[str, int]


def build_report(run: Run, store: Store) -> dict[str, Any]:
    """The report of a run as a JSON-able dict."""
    requests = _Tally(run)
    return {
        "machine": machine(),
        "seconds": round(run.ended - run.began, 1),
        "seconds_to_first_answer": requests.first_answer,
        "queries": requests.queries(),
        "queries_by_generation": requests.by_generation(),
        **history(Generations(store), Snapshots(store), run.began, run.ended),
        "questions_over_time": requests.over_time(),
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


@dataclass(slots=True)
class _Interval:
    """Latencies in milliseconds of what was answered in it, and how much failed."""

    milliseconds: array[float] = field(default_factory=lambda: array("d"))
    failed: int = 0


class _Tally:
    """The requests of a run, read once: of each that was answered its latency is kept, twice."""

    def __init__(self, run: Run) -> None:
        self.first_answer: float | None = None
        self._began = run.began
        self._counts: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._generations: Counter[int] = Counter()
        self._failures: list[str] = []
        self._milliseconds: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._width = max(MIN_INTERVAL_SECONDS, (run.ended - run.began) / INTERVALS)
        self._intervals: defaultdict[int, _Interval] = defaultdict(_Interval)
        for each in run.requests:
            self._add(each)

    def _add(self, record: RequestRecord) -> None:
        self._kinds[record.kind] += 1
        self._counts["asked_again"] += record.retries > 0
        self._counts[record.verdict] += 1
        interval = self._intervals[int((record.at - self._began) // self._width)]
        if record.failed:
            self._counts["failed"] += 1
            interval.failed += 1
            if len(self._failures) < FAILURES_SHOWN:
                self._failures.append(record.failed)
            return
        if self.first_answer is None:
            self.first_answer = round(record.at - self._began, 1)
        self._generations[record.generation] += 1
        self._milliseconds[record.kind].append(record.latency * 1000)
        interval.milliseconds.append(record.latency * 1000)

    def queries(self) -> dict[str, Any]:
        return {
            "total": self._kinds.total(),
            "failed": self._counts["failed"],
            "asked_again": self._counts["asked_again"],
            "mixed_version": self._counts[Verdict.MIXED],
            "audited": self._counts[Verdict.ONE_VERSION],
            "searches": self._kinds["search"],
            "answers": self._kinds["answer"],
            "latency_ms": {
                kind: quantiles(self._milliseconds[kind], 50, 99) for kind in ("search", "answer")
            },
            "failures": self._failures,
        }

    def by_generation(self) -> dict[str, int]:
        return {str(number): self._generations[number] for number in sorted(self._generations)}

    def over_time(self) -> list[dict[str, Any]]:
        """Answered and failed requests and their latency by interval."""
        return [
            {
                "at": round(number * self._width, 1),
                "answered": len(found.milliseconds),
                "failed": found.failed,
                **{f"{p}_ms": value for p, value in quantiles(found.milliseconds, 50, 99).items()},
            }
            for number, found in sorted(self._intervals.items())
        ]


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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

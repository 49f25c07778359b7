"""A run's report as `services.standalone.report` makes it, ten refreshes long."""

from __future__ import annotations

from typing import Any

REJECTED = 7
PERIOD = 60.0


def a_run() -> dict[str, Any]:
    refreshes = [refresh(number) for number in range(2, 12)]
    swaps = [
        {
            "at": each["began"] + each["figures"]["phase_total"],
            "generation": each["generation"],
            "why": "refresh",
        }
        for each in refreshes
        if each["went_live"]
    ]
    return {
        "machine": {"processor": "a processor", "cores": 2},
        "seconds": 620.0,
        "generations_live": len(swaps),
        "queries": {"total": 1500, "failed": 0, "mixed_version": 0},
        "refreshes": refreshes,
        "refresh_latency_seconds": {"total": {"p50": 42.0, "p95": 50.0, "p100": 51.0}},
        "held_out_recall": [
            {
                "generation": each["generation"],
                "step": each["step"],
                "recall@5": each["figures"]["probe_recall@5"],
            }
            for each in refreshes
        ],
        "swaps": swaps,
        "lag": [
            {"at": at, "steps": 40, "seconds": at % PERIOD, "generation": 2 + at // 60}
            for at in range(0, 620, 2)
        ],
        "questions_over_time": [
            {"at": at, "answered": 25, "failed": at % 7 == 0, "p50_ms": 30.0, "p99_ms": 90.0}
            for at in range(0, 620, 10)
        ],
    }


def refresh(number: int) -> dict[str, Any]:
    rejected = number == REJECTED
    took = 30.0 + number
    phases = {"queue": 0.5, "embed": took * 0.7, "load": took * 0.3 - 0.5, "total": took}
    return {
        "generation": number,
        "snapshot": number,
        "step": 40 * number,
        "state": "rejected" if rejected else "retired",
        "outcome": "rejected" if rejected else "live",
        "why": "probe recall@5 fell by 0.31 </script>" if rejected else "refresh",
        "began": PERIOD * (number - 2),
        "went_live": not rejected,
        "words_alone": False,
        "figures": {
            "probe_recall@5": 0.7 + 0.01 * number,
            "live_probe_recall@5": 0.69 + 0.01 * number,
            **({} if rejected else {f"phase_{name}": value for name, value in phases.items()}),
        },
    }

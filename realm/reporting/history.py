"""What a store remembers of its index: refreshes, swaps, and the lag at any moment since.

The lag needs no samples: it follows from when snapshots were published and generations committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from realm.records.generation import outcome
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State, phases_in

#: The gate reports what it measured with probe questions under this prefix,
PROBE = "probe_"
#: and the same for the generation that was live at the time.
LIVE_PROBE = "live_probe_"
LAG_POINTS = 400


def history(
    generations: Generations, snapshots: Snapshots, began: float, ended: float
) -> dict[str, Any]:
    """Refreshes, swaps and lag between two Unix times; times are seconds from the first."""
    refreshes = _refreshes_since(generations, began)
    swaps = _swaps_since(generations, began)
    return {
        "generations_live": len(swaps),
        "refreshes": refreshes,
        "refresh_latency_seconds": _latencies(refreshes),
        "held_out_recall": _held_out_recall(refreshes),
        "swaps": swaps,
        "lag": lag_over_time(generations, snapshots, began, ended),
    }


def _refreshes_since(generations: Generations, began: float) -> list[dict[str, Any]]:
    """Every generation begun since then, how it ended and its figures."""
    return [
        _refresh(generations, number, began)
        for number in generations.numbers()
        if generations.get(number).created_at >= began
    ]


def _swaps_since(generations: Generations, began: float) -> list[dict[str, Any]]:
    """Every commit since then, rollbacks among them; leaders that took over repeat the last."""
    commits = {(entry.at, entry.generation): entry for entry in generations.live_history()}
    return [
        {"at": round(entry.at - began, 3), "generation": entry.generation, "why": entry.why}
        for entry in commits.values()
        if entry.at >= began
    ]


def quantiles(values: Sequence[float], *shares: int) -> dict[str, float]:
    """`{"p50": …}` of values; empty without values."""
    if not values:
        return {}
    return {f"p{share}": round(float(np.percentile(values, share)), 4) for share in shares}


def _latencies(refreshes: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Quantiles by phase, over refreshes that went live; words alone are none."""
    phases: dict[str, list[float]] = {}
    for refresh in refreshes:
        if refresh["went_live"] and not refresh["words_alone"]:
            for name, value in phases_in(refresh["figures"]).items():
                phases.setdefault(name, []).append(value)
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


def lag_over_time(
    generations: Generations, snapshots: Snapshots, began: float, ended: float
) -> list[dict[str, float]]:
    """Lag in seconds and steps between two Unix times: rising lines that fall at swaps."""
    published = snapshots.all()
    commits = generations.live_history()
    turns = [each.created_at for each in published] + [each.at for each in commits]
    moments = {began, ended, *np.linspace(began, ended, LAG_POINTS).tolist()}
    for turn in turns:
        if began < turn < ended:
            moments |= {turn - 1e-3, turn}
    points = []
    for moment in sorted(moments):
        live = next((each for each in reversed(commits) if each.at <= moment), None)
        if live is not None and (generation := generations.find(live.generation)) is not None:
            known = (each for each in published if each.created_at <= moment)
            lag = generation.lag(known)
            points.append(
                {
                    "at": round(moment - began, 3),
                    "generation": live.generation,
                    "steps": lag.steps,
                    "seconds": round(lag.seconds(moment), 3),
                }
            )
    return points


def _refresh(generations: Generations, number: int, began: float) -> dict[str, Any]:
    generation = generations.get(number)
    events = generations.events(number)
    figures: dict[str, float] = {}
    for event in events:
        figures.update(event.report)
    ended = outcome(events)
    return {
        "generation": number,
        "snapshot": generation.snapshot,
        "step": generation.step,
        "words_alone": generation.words_alone,
        "state": str(events[-1].state if events else State.BUILDING),
        "outcome": str(ended.state) if ended else "under way",
        "why": (ended or events[-1]).why if events else "",
        "began": round(generation.created_at - began, 3),
        "went_live": any(event.state == State.LIVE for event in events),
        "figures": figures,
    }

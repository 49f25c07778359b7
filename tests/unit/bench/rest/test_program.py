"""From what was observed to claims."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest

from bench.rest.program import BENCH, GIB, Memory, Observed, Seen, judge


def seen(started: float, ready: float | None) -> Seen:
    return Seen(psutil.Process(), started, ready, 0.5)


GOOD = Observed(
    seen={"gateway": seen(2.0, 3.0), "fork-server": seen(0.5, 6.4)},
    vectors=12.0,
    memory=Memory({"gateway": int(GIB), "fork-server": int(0.7 * GIB)}),
    idle=0.01,
    load=0.0,
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_a_lean_cluster_keeps_all_claims() -> None:
    assert failing(GOOD) == []
    assert len(judge(BENCH.full, GOOD).claims) == 2


@pytest.mark.parametrize("slow", [seen(2.0, 8.1), seen(2.0, None)])
def test_each_process_counts_from_its_own_start(slow: Seen) -> None:
    observed = replace(GOOD, seen={**GOOD.seen, "trainer": slow})
    assert failing(observed) == ["seconds until a process is ready"]


def test_memory_is_that_of_all_processes() -> None:
    sizes = {**GOOD.memory.sizes, "trainer": int(0.2 * GIB)}
    assert failing(replace(GOOD, memory=Memory(sizes))) == ["GiB of all processes at rest"]


def test_beside_others_time_is_not_judged() -> None:
    observed = replace(GOOD, seen={"gateway": seen(2.0, 30.0)})
    assert all(each.holds for each in judge(BENCH.quick, observed).claims)


def test_what_training_adds_is_shown_alone() -> None:
    result = judge(replace(BENCH.full, train=True), GOOD)
    assert result.claims == []
    assert result.figures["pss_gib"] == 1.7

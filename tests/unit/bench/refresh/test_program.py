"""From what was observed to claims."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.refresh.program import BENCH, Observed, Searches, judge

GOOD = Observed(
    passages=1000,
    phases={"queue": 0.5, "embed": 10.0, "total": 11.4},
    tasks={"encode": 9.9},
    processor={"embedder": 9.9, "embedder-delta": 0.3},
    pure=10.0,
    at_rest=Searches([0.02] * 98 + [0.03] * 2, 0),
    while_built=Searches([0.02] * 98 + [0.04] * 2, 0),
    load=0.0,
    source="here",
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_a_refresh_that_nobody_notices_keeps_all_claims() -> None:
    assert failing(GOOD) == []
    assert len(judge(BENCH.full, GOOD).claims) == 4


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"pure": 9.0}, "times pure embedding, of a whole refresh"),
        (
            {"while_built": Searches([0.02] * 98 + [0.05] * 2, 0)},
            "p99 of searches while built, over that at rest",
        ),
        ({"while_built": Searches([0.02], 1)}, "searches that failed"),
        ({"at_rest": Searches([], 0)}, "p99 of searches while built, over that at rest"),
    ],
)
def test_each_claim_can_fail(change: dict[str, object], broken: str) -> None:
    assert failing(replace(GOOD, **change)) == [broken]  # type: ignore[arg-type]


def test_the_short_form_says_nothing_of_speed() -> None:
    slow = replace(GOOD, pure=1.0)
    assert all(each.holds for each in judge(BENCH.quick, slow).claims)

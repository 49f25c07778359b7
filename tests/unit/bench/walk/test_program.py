"""The page's commands, and from what was observed to claims."""

from __future__ import annotations

from dataclasses import replace

from bench.walk.program import ASKS, BENCH, FINDS, PAGE, SAVES, Observed, Step, judge, typed

ASK, SAVE, FIND = (f"{name} …" for name in (ASKS, SAVES, FINDS))
GOOD = Observed(
    [Step(ASK, 90.0, 1.0, 80, ""), Step(SAVE, 95.0, 0.1, 1, ""), Step(FIND, 99.0, 1.0, 3, "")],
    load=0.0,
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_the_page_starts_a_cluster_then_asks_and_saves() -> None:
    first, *rest = typed(PAGE.read_text(encoding="utf-8"))
    assert first.startswith("make run CORPUS=")
    order = [
        next(i for i, each in enumerate(rest) if name in each) for name in (ASKS, SAVES, FINDS)
    ]
    assert order == sorted(order)


def test_time_counts_from_nothing_and_from_the_file_that_was_saved() -> None:
    assert failing(GOOD) == []
    ask, save, find = GOOD.steps
    slow = replace(GOOD, steps=[replace(ask, after=181.0), save, find])
    assert failing(slow) == ["seconds from nothing to an answer"]
    late = replace(GOOD, steps=[ask, save, replace(find, after=106.0)])
    assert failing(late) == ["seconds until a saved file is found"]
    assert judge(BENCH.quick, late).claims == []

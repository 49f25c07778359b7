"""Who is taken on: laws of the ledger, of fairness, and of lanes that do not know one another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.admission.cost import Cost
from services.gateway.admission.lanes import LEAST_PAUSE, Lane, Lanes, Ledger, Stage, Work

EACH = 0.01
LONGEST: dict[Stage, float] = {"encode": 0.5, "search": 0.5, "read": 5.0}

callers = st.sampled_from("abcde")
amounts = st.floats(0.1, 500.0)
holdings = st.dictionaries(callers, amounts, max_size=5)


def lanes(held: dict[Stage, dict[str, float]] | None = None) -> Lanes:
    """Of stages whose every unit takes `EACH` seconds."""
    made = Lanes({stage: Lane(Cost(EACH, 1.0), longest) for stage, longest in LONGEST.items()})
    for stage, by in (held or {}).items():
        for caller, units in by.items():
            made[stage].ledger.add(caller, units)
    return made


def ledger(held: dict[str, float]) -> Ledger:
    made = Ledger()
    for caller, units in held.items():
        made.add(caller, units)
    return made


def served_before(held: dict[str, float], caller: str, units: float) -> float:
    """By simulation: how much is done before a caller's last unit, if all are served evenly."""
    left = {**held, caller: held.get(caller, 0.0) + units}
    done = 0.0
    while True:
        least = min(left.values())
        done += least * len(left)
        if left[caller] <= least:
            return done - units
        left = {name: amount - least for name, amount in left.items() if amount > least}


@given(holdings, callers, amounts)
def test_what_is_ahead_is_what_even_turns_would_do_first(
    held: dict[str, float], caller: str, units: float
) -> None:
    ahead = ledger(held).ahead(caller, units)
    assert ahead == pytest.approx(served_before(held, caller, units))


@given(holdings, callers, amounts)
def test_no_more_is_ahead_than_there_is(held: dict[str, float], caller: str, units: float) -> None:
    found = ledger(held)
    assert held.get(caller, 0.0) <= found.ahead(caller, units) <= found.total * (1 + 1e-9)


@given(st.lists(st.tuples(callers, amounts), max_size=30))
def test_a_ledger_of_done_work_is_empty(taken: Sequence[tuple[str, float]]) -> None:
    found = Ledger()
    for caller, units in taken:
        found.add(caller, units)
    for caller, units in taken:
        found.add(caller, -units)
    assert len(found) == 0
    assert found.total == 0


@given(holdings, amounts, st.floats(0.0, 100.0))
def test_empty_lanes_take_anything(read: dict[str, float], units: float, seconds: float) -> None:
    """Whatever an estimate says: else one that is too high would never be put right."""
    work: Work = {"encode": units, "search": 1, "read": 0}
    assert lanes({"read": read}).excess("a", work, seconds) == 0


@given(st.lists(st.tuples(callers, st.floats(0.1, 60.0)), min_size=1, max_size=200))
def test_queues_are_bounded_whoever_asks_how_often(asked: Sequence[tuple[str, float]]) -> None:
    found = lanes()
    for caller, units in asked:
        if not found.excess(caller, {"encode": units}, 1e9):
            found["encode"].ledger.add(caller, units)
    held = found["encode"].ledger.total * EACH
    # Each caller may have its last one above what is ahead of it.
    assert held <= LONGEST["encode"] + 5 * 60.0 * EACH


@given(holdings, callers, st.floats(0.1, 20.0))
def test_a_flood_of_one_caller_delays_another_by_no_more_than_its_own_work(
    held: dict[str, float], caller: str, units: float
) -> None:
    others = {name: amount for name, amount in held.items() if name != caller}
    calm = lanes({"encode": others})
    flooded = lanes({"encode": {**others, "flood": 1e9}})
    before = calm["encode"].queue(caller, units)
    assert flooded["encode"].queue(caller, units) <= before + EACH * units * (1 + 1e-9)


@given(holdings, holdings, callers, st.floats(0.1, 50.0), st.floats(0.0, 10.0))
def test_reading_has_no_say_in_whether_a_search_is_taken_on(
    encode: dict[str, float], read: dict[str, float], caller: str, units: float, seconds: float
) -> None:
    search: Work = {"encode": units, "search": 1, "read": 0}
    alone, beside = lanes({"encode": encode}), lanes({"encode": encode, "read": read})
    assert alone.excess(caller, search, seconds) == beside.excess(caller, search, seconds)


@given(holdings, callers, st.floats(0.1, 50.0), st.floats(0.0, 10.0), st.floats(0.0, 10.0))
def test_more_time_never_hurts(
    held: dict[str, float], caller: str, units: float, one: float, other: float
) -> None:
    found = lanes({"encode": held})
    work: Work = {"encode": units}
    less, more = sorted((one, other))
    assert found.excess(caller, work, more) <= found.excess(caller, work, less)


@given(amounts, st.floats(0.1, 50.0), st.floats(0.0, 10.0))
def test_who_waits_as_told_is_taken_on(held: float, units: float, seconds: float) -> None:
    """If meanwhile nobody else comes, and the lane works as fast as it is said to."""
    work: Work = {"encode": units}
    pause = lanes({"encode": {"a": held}}).excess("a", work, seconds)
    assert pause == 0 or pause >= LEAST_PAUSE
    if pause and units * EACH <= seconds:
        left = lanes({"encode": {"a": max(0.0, held - 1.001 * pause / EACH)}})
        assert left.excess("a", work, seconds) == 0


def test_a_deadline_that_cannot_be_met_is_told_by_how_much() -> None:
    found = lanes({"read": {"a": 300.0}})
    work: Work = {"encode": 1, "search": 1, "read": 100}
    # 3 s of queue, then 1.02 s of work.
    assert found.excess("a", work, 4.1) == 0
    assert found.excess("a", work, 2.0) == pytest.approx(2.02)


def test_a_batch_may_queue_though_lone_work_took_long() -> None:
    """Thirty lone questions a tenth of a second each do not take three seconds together."""
    cost = Cost(EACH, 512)
    for _ in range(50):
        cost.learn(12, 0.1)
    made = Lanes({"encode": Lane(cost, 0.35, always=512)})
    for _ in range(42):
        assert made.excess("a", {"encode": 12}, 60) == 0
        made["encode"].ledger.add("a", 12)
    assert made.excess("a", {"encode": 12}, 60) > 0


@given(st.lists(st.floats(0.1, 4.0), max_size=200), st.floats(0.1, 0.9))
def test_who_can_wait_leaves_room_for_who_cannot(patient: Sequence[float], share: float) -> None:
    """However many of a caller's can wait, his next one that cannot is taken on."""
    found = lanes()
    for units in patient:
        if not found.excess("a", {"search": units}, 1e9, share=share):
            found["search"].ledger.add("a", units)
    held = found["search"].ledger.total * EACH
    assert held <= share * LONGEST["search"] + 4.0 * EACH
    assert found.excess("a", {"search": 1.0}, 1e9) == 0

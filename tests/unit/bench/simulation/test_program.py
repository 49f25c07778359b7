"""A sample of schedules: none breaks an invariant, and each is a pure function of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.simulation.happenings import Beginning, Event, Happening
from bench.simulation.network import Act, Trap
from bench.simulation.oracle import Oracle, Violation
from bench.simulation.plan import Plan, draw
from bench.simulation.qdrant import Qdrant
from bench.simulation.search import seed_of, shorten, simulating
from bench.simulation.storage import Disk
from bench.simulation.world import run

SAMPLE = 25


@pytest.fixture(scope="module", autouse=True)
def _simulating() -> Iterator[None]:
    with simulating():
        yield


def test_no_schedule_of_a_sample_breaks_an_invariant() -> None:
    failures = {n: found for n in range(SAMPLE) if (found := run(draw(seed_of(0, n))).failure)}
    assert not failures


@pytest.mark.parametrize("number", [3, 40])
def test_a_schedule_is_a_pure_function_of_its_seed(number: int) -> None:
    first, second = (run(draw(seed_of(1, number))) for _ in range(2))
    assert first.trace == second.trace
    assert (first.steps, first.seconds) == (second.steps, second.seconds)
    assert first.reached == second.reached


def test_a_leader_that_is_paused_in_its_commit_does_not_commit_after_its_successor() -> None:
    plan = Plan(
        "paused", Beginning.LIVE, 2, 1, 1, False, 0.05,
        # The write keeps the schedule from its end until the pause is over.
        (Happening(1.0, Event.PUBLISH, 0.0, 0.0), Happening(30.0, Event.WRITE, 0.0, 0.0)),
        (Trap("commit", 1, Act.PAUSE_BEFORE, 15.0),),
    )  # fmt: skip
    # When it wakes, its put comes before it hears of its successor, or never.
    outcomes = [run(replace(plan, seed=f"paused {number}")) for number in range(8)]
    assert not any(each.failure for each in outcomes)
    assert all(each.reached["a leader is deposed in its commit"] for each in outcomes)
    assert any(each.reached["a deposed leader's commit is refused"] for each in outcomes)


def test_a_build_that_is_handed_on_is_loaded_anew_and_goes_live_where_it_was() -> None:
    plan = Plan(
        "handed on", Beginning.LIVE, 2, 1, 1, False, 0.05,
        (
            Happening(0.2, Event.PUBLISH, 0.0, 0.0),
            Happening(2.0, Event.WRITE, 0.1, 0.0),
            Happening(5.5, Event.RESIGN, 0.0, 0.0),
        ),
        (Trap("event", 2, Act.SLOW_BEFORE, 8.0),),
    )  # fmt: skip
    outcome = run(plan)
    assert not outcome.failure
    assert outcome.reached["a build is loaded anew that was recorded to be further"]
    assert outcome.reached["a build ends well though its leader resigned"]


def test_what_does_not_matter_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Happening(1.0, Event.WRITE, 0.1, 0.0)
    others = [Happening(0.5, each, 0.1, 1.0) for each in (Event.PUBLISH, Event.CLOCK_JUMPS)]
    traps = (Trap("event", 1, Act.LOSE, 0.1),)
    plan = Plan("s", Beginning.LIVE, 1, 1, 1, True, 0.05, (others[0], write, others[1]), traps)
    monkeypatch.setattr(Oracle, "acknowledged", refuse)
    kept, outcome = shorten(plan)
    assert outcome.failure == "nobody is to be answered"
    assert [plan.parts()[each] for each in kept] == outcome.plan.parts() == [write]


def refuse(*_: object) -> None:
    raise Violation("nobody is to be answered")


def test_the_oracle_sees_what_is_gone() -> None:
    oracle = Oracle(Disk(), Qdrant(), rows={"d": [(1, True)]})
    oracle.qdrant.collections["passages-00000001"] = {}
    with pytest.raises(Violation, match="lacks d"):
        oracle.check_content(1, 1)
    oracle.check_content(1, 0)

from __future__ import annotations

from realm.records.generations import Event, State
from realm.records.snapshots import Snapshot
from services.indexer.report.status import Lag, lag_of, phases_of, state_value


def snapshot(number: int, step: int, at: float) -> Snapshot:
    return Snapshot(number, "d", step, at, None, "f", 2, {})


SNAPSHOTS = [snapshot(1, 0, 100.0), snapshot(2, 40, 160.0), snapshot(3, 80, 220.0)]


def test_no_lag_when_the_newest_is_live() -> None:
    assert lag_of(3, SNAPSHOTS, 1000.0) == Lag(0, 0.0)


def test_lag_counts_from_the_oldest_newer_snapshot() -> None:
    assert lag_of(1, SNAPSHOTS, 300.0) == Lag(80, 140.0)
    assert lag_of(2, SNAPSHOTS, 300.0) == Lag(40, 80.0)


def test_lag_is_by_number_even_after_a_restart_from_an_older_step() -> None:
    restarted = [*SNAPSHOTS, snapshot(4, 60, 280.0)]
    assert lag_of(3, restarted, 300.0) == Lag(-20, 20.0)


def test_phases_are_found_among_the_gates_figures() -> None:
    events = [
        Event(1, State.BUILDING, 1.0),
        Event(2, State.LIVE, 2.0, "", {"recall@10": 1.0}),
        Event(3, State.LIVE, 3.0, "", {"phase_embed": 4.0, "phase_total": 5.0}),
    ]
    assert phases_of(events) == {"embed": 4.0, "total": 5.0}


def test_every_state_has_a_name_in_the_protocol() -> None:
    assert len({state_value(state) for state in State}) == len(State)

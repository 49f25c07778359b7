from __future__ import annotations

from realm.records.generations import Event
from realm.records.states import State
from services.indexer.report.status import phases_of, state_value


def test_phases_are_found_among_the_gates_figures() -> None:
    events = [
        Event(1, State.BUILDING, 1.0),
        Event(2, State.LIVE, 2.0, "", {"recall@10": 1.0}),
        Event(3, State.LIVE, 3.0, "", {"phase_embed": 4.0, "phase_total": 5.0}),
    ]
    assert phases_of(events) == {"embed": 4.0, "total": 5.0}


def test_every_state_has_a_name_in_the_protocol() -> None:
    assert len({state_value(state) for state in State}) == len(State)

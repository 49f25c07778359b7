"""When the trainer waits for the index, and when waiting would be for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.records.states import State
from services.trainer.staleness import IndexSituation, StalenessBound

BEHIND = IndexSituation(published_step=120, live_step=40, fate=State.BUILDING, paused=False)


def test_waits_while_the_lag_exceeds_the_bound() -> None:
    assert StalenessBound(60).must_wait(BEHIND)
    assert not StalenessBound(80).must_wait(BEHIND)


def test_waits_for_a_snapshot_that_no_generation_has_taken_yet() -> None:
    assert StalenessBound(60).must_wait(replace(BEHIND, fate=None))


@pytest.mark.parametrize("fate", [State.LIVE, State.REJECTED, State.ABANDONED, State.RETAINED])
def test_stops_waiting_once_the_snapshot_is_decided_on(fate: State) -> None:
    assert not StalenessBound(60).must_wait(replace(BEHIND, fate=fate))


def test_stops_waiting_when_refreshing_is_paused() -> None:
    assert not StalenessBound(60).must_wait(replace(BEHIND, paused=True))


def test_before_the_first_commit_the_lag_counts_from_the_base() -> None:
    assert StalenessBound(100).must_wait(replace(BEHIND, live_step=None))
    assert not StalenessBound(120).must_wait(replace(BEHIND, live_step=None))


@given(st.integers(0, 10**6), st.none() | st.integers(0, 10**6), st.booleans())
def test_no_bound_never_waits(published: int, live: int | None, paused: bool) -> None:
    situation = IndexSituation(published, live, State.BUILDING, paused)
    assert not StalenessBound(0).must_wait(situation)

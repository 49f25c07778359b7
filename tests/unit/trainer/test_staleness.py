"""When the trainer waits for the index, and when waiting would never end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.records.states import State
from services.trainer.loop import IndexSituation

BEHIND = IndexSituation(published_step=120, live_step=40, newest_state=State.BUILDING, paused=False)


@pytest.mark.parametrize(
    ("given_", "bound", "waits"),
    [
        ({}, 60, True),
        ({}, 80, False),
        ({"newest_state": None}, 60, True),
        *(
            ({"newest_state": state}, 60, False)
            for state in (State.LIVE, State.REJECTED, State.ABANDONED, State.RETAINED)
        ),
        ({"paused": True}, 60, False),
        # Before the first commit the lag counts from the base.
        ({"live_step": None}, 100, True),
        ({"live_step": None}, 120, False),
    ],
)
def test_waits_only_for_a_snapshot_that_may_still_become_live(
    given_: dict[str, object], bound: int, waits: bool
) -> None:
    assert replace(BEHIND, **given_).exceeds(bound) == waits  # type: ignore[arg-type]


@given(st.integers(0, 10**6), st.none() | st.integers(0, 10**6), st.booleans())
def test_no_bound_never_waits(published: int, live: int | None, paused: bool) -> None:
    assert not IndexSituation(published, live, State.BUILDING, paused).exceeds(0)

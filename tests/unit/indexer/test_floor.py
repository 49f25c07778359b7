"""What a leader does with builds of leaders before it."""

from __future__ import annotations

from dataclasses import replace

from realm.records.states import State
from services.indexer.build.lifecycle import (
    MAX_ABANDONED,
    BeginBuild,
    GenerationView,
    Live,
    Observation,
    Record,
    candidate_of,
    decide,
)


def seen(*generations: GenerationView, floor: int) -> Observation:
    return Observation(
        retirement_seconds=10.0,
        newest_snapshot=2,
        has_documents=True,
        paused=False,
        refresh_asked=0,
        live=Live(1, 1, 1, None),
        generations=(
            GenerationView(1, 1, State.LIVE, 1.0, has_collection=True, term=1),
            *generations,
        ),
        candidate=None,
        qdrant_reachable=True,
        alias=1,
        floor=floor,
    )


BUILD = GenerationView(2, 2, State.BUILDING, 5.0, has_collection=True, term=1, replaces=1)


def test_a_build_is_gone_on_with_if_its_leader_cannot_wake() -> None:
    found = seen(BUILD, floor=0)
    assert candidate_of(found.generations, found.live, found.floor) == BUILD
    assert not any(isinstance(action, Record) for action in decide(found).actions)


def test_a_build_whose_leader_may_wake_is_given_up_and_begun_anew() -> None:
    actions = decide(seen(BUILD, floor=2)).actions
    assert Record(2, State.ABANDONED, "another indexer leads now") in actions
    after = decide(seen(replace(BUILD, state=State.ABANDONED), floor=2)).actions
    assert BeginBuild in {type(action) for action in after}


def test_lost_leaders_do_not_speak_against_a_snapshot() -> None:
    lost = [
        replace(BUILD, number=2 + each, state=State.ABANDONED) for each in range(MAX_ABANDONED + 1)
    ]
    begins = [each for each in decide(seen(*lost, floor=2)).actions if isinstance(each, BeginBuild)]
    assert len(begins) == 1
    own = [replace(each, term=2) for each in lost]
    assert not [
        each for each in decide(seen(*own, floor=2)).actions if isinstance(each, BeginBuild)
    ]


def test_what_an_earlier_leader_made_live_stays_live() -> None:
    assert Record not in {type(action) for action in decide(seen(floor=9)).actions}

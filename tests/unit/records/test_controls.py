"""What steers the indexer is told by one list."""

from __future__ import annotations

from realm.records.controls import (
    COLLECT,
    PAUSED,
    REFRESHES,
    Controls,
    RefreshRequest,
    Steering,
    damaged,
    record_damage,
)
from realm.records.leaders import Leaders, Term
from realm.records.store import Store

NOTHING = Steering(paused=False, refresh=None, collect=False, damaged=frozenset())


def test_nothing_steers_a_new_store(store: Store) -> None:
    assert Controls(store).steering() == NOTHING


def test_other_numbered_files_of_the_folder_steer_nothing(store: Store) -> None:
    Leaders(store).claim(Term(7, "me", "here:1", 0.0, 0))
    assert Controls(store).steering() == NOTHING


def test_one_look_says_what_each_question_says(store: Store) -> None:
    controls = Controls(store)
    controls.pause(True, "a test")
    controls.request_refresh("a test")
    controls.request_refresh("another", 3, "me")
    record_damage(store, 5, "points are missing")
    store.write_json(COLLECT, {})
    seen = controls.steering()
    assert seen == Steering(True, RefreshRequest(2, 3, "me"), True, frozenset({5}))
    assert seen == Steering(controls.paused(), controls.refresh_request(), True, damaged(store))
    controls.pause(False, "go on")
    assert not controls.steering().paused


def test_a_damaged_pause_pauses_and_a_damaged_request_is_passed_over(store: Store) -> None:
    controls = Controls(store)
    controls.request_refresh("a test", 2)
    store.write(f"{REFRESHES}/00000002.json", b"{")
    store.write(PAUSED, b"{")
    assert controls.steering() == Steering(True, RefreshRequest(1, 2), False, frozenset())

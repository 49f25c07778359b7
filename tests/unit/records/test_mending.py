"""What a leader has read and finds damaged it puts again."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from realm.records.generations import Generations
from realm.records.mending import AT_ONCE, RecordMender
from realm.records.states import State
from realm.records.store import Store
from tests.unit.records.test_generations import make

LIVE = 2
MANIFESTS = [f"generations/{number:08d}/manifest.json" for number in (1, LIVE)]


@pytest.fixture
def leader(store: Store) -> Generations:
    """One retained, one live, and more that ended than one call looks at; all of it was read."""
    generations = Generations(store)
    ended = range(LIVE + 1, LIVE + 2 * AT_ONCE)
    for number, states in [
        (1, [State.LIVE, State.RETAINED]),
        (LIVE, [State.LIVE]),
        *((each, [State.BUILDING, State.ABANDONED]) for each in ended),
    ]:
        generations.create(make(number))
        for state in states:
            generations.record(number, state)
        if State.LIVE in states:
            generations.commit(number, after=generations.live(), by="test", why="")
    generations.live_history()
    assert all(generations.events(number) for number in generations.numbers())
    return generations


def altered(path: Path) -> None:
    raw = json.loads(path.read_text())
    key = next(key for key in ("generation", "step", "at") if key in raw)
    path.write_text(json.dumps({**raw, key: raw[key] + 1}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def lost(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        *product(
            [*MANIFESTS, "generations/00000002/events/000001.json", "live/00000002.json"],
            [altered, cut, emptied],
        ),
        *product(MANIFESTS, [lost]),
    ],
)
def test_what_the_leader_has_read_it_puts_again(
    store: Store, leader: Generations, path: str, damage: Callable[[Path], None]
) -> None:
    """So that whoever starts later finds it."""
    before = store.read_json(path)
    assert store.root
    damage(store.root / path)
    mender = RecordMender(store, leader)
    assert mender.mend() == [path]
    assert store.read_json(path) == before
    assert mender.mend() == []


@pytest.mark.parametrize("number", [LIVE + 1, LIVE + 2 * AT_ONCE - 1])
def test_how_a_generation_ended_is_put_again_in_its_turn(
    store: Store, leader: Generations, number: int
) -> None:
    assert store.root
    cut(store.root / f"generations/{number:08d}/events/000002.json")
    assert Generations(store).state(number) is State.BUILDING
    mender = RecordMender(store, leader)
    assert [path for _ in range(2) for path in mender.mend()] == [
        f"generations/{number:08d}/events/000002.json"
    ]
    assert Generations(store).state(number) is State.ABANDONED


def test_what_nobody_has_read_is_left_as_it_is(store: Store, leader: Generations) -> None:
    assert store.root
    cut(store.root / "live/00000002.json")
    assert RecordMender(store, Generations(store)).mend() == []

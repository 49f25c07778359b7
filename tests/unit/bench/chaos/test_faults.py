"""What faults of files choose, and what becomes of it."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos.faults.damaging import cut, damage, flip_bit, lose
from bench.chaos.faults.irreplaceable import DamageLog, DamageRows
from bench.chaos.faults.kinds import FaultKind
from bench.chaos.faults.records import DamageControl, DamageEvent, DamageLiveEntry, DamageManifest
from bench.chaos.scene import Scene
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import DamagedCorpus
from realm.records.controls import PAUSED, Controls
from realm.records.generations import Generations
from realm.records.leaders import Leaders, Term
from realm.records.states import State
from realm.records.store import Store
from tests.unit.indexer.examples import create


@dataclass
class Stored:
    """Of a cluster its store alone: files need no process."""

    store: Store


@pytest.fixture
def scene(store: Store) -> Scene:
    """Generation 1 is retired, 2 retained, 3 live, 4 being built; two writes; a leader."""
    states = (State.RETIRED, State.RETAINED, State.LIVE, State.BUILDING)
    for number, state in enumerate(states, start=1):
        create(store, number, state)
    generations = Generations(store)
    for number in (1, 2, 3):
        generations.commit(number, after=generations.live(), by="test", why="")
    table = CorpusTable(store)
    for name in "ab":
        table.append([Change(name, Document(name, "", "Some text."), name)])
    Leaders(store).claim(Term(1, "me", "here:1", 0.0, 0))
    Leaders(store).beat(1, 1)
    return Scene(Stored(store), Generations(store), 1.0, lambda: 0)  # type: ignore[arg-type]


def hit(kind: FaultKind, draw: int = 0) -> str:
    """What the kind chose and damaged."""
    rng = random.Random(draw)
    target = kind.choose(rng)
    effects = kind.begin(target, rng)
    assert effects
    assert effects.paths == {target}
    return target


@given(st.binary(min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_a_bit_flips_and_a_file_is_cut(data: bytes, rng: random.Random) -> None:
    flipped = flip_bit(data, rng)
    assert len(flipped) == len(data)
    assert sum((a ^ b).bit_count() for a, b in zip(data, flipped, strict=True)) == 1
    left = cut(data, rng)
    assert len(left) < len(data)
    assert data.startswith(left)


def test_what_is_not_there_or_empty_is_not_hit(store: Store) -> None:
    store.write("empty", b"")
    store.write("file", b"something")
    rng = random.Random(0)
    assert not damage(store, "nowhere", rng, flip_bit)
    assert not damage(store, "empty", rng, cut)
    assert damage(store, "file", rng, lose)
    assert not store.exists("file")


def test_manifests_are_of_what_is_active(scene: Scene, store: Store) -> None:
    assert len(DamageManifest(scene).targets()) == 3
    path = hit(DamageManifest(scene))
    number = int(path.split("/")[1])
    assert number in Generations(store).set_aside()
    assert scene.generations.get(number).number == number, "the judge knows what it said"


@pytest.mark.parametrize("draw", range(6))
def test_the_newest_event_and_the_newest_live_entry(scene: Scene, store: Store, draw: int) -> None:
    event = hit(DamageEvent(scene), draw)
    number = int(event.split("/")[1])
    assert number in (2, 3, 4)
    assert Generations(store).events(number) == []
    assert hit(DamageLiveEntry(scene), draw) == "live/00000003.json"
    found = Generations(store).live()
    assert found
    assert found.generation == 2
    assert [each.generation for each in scene.generations.live_history()] == [1, 2, 3]


def test_an_unreadable_pause_ends_when_an_operator_says_so(scene: Scene, store: Store) -> None:
    kind = DamageControl(scene)
    targets = {kind.choose(random.Random(draw)) for draw in range(50)}
    assert targets == {
        PAUSED,
        "control/leader/000000000001.json",
        "control/leader/000000000001.beat",
    }
    assert kind.begin(PAUSED, random.Random(0))
    assert Controls(store).paused()
    kind.end(PAUSED)
    assert not Controls(store).paused()


@pytest.mark.parametrize("kind", [DamageLog, DamageRows])
@pytest.mark.parametrize("draw", range(4))
def test_the_corpus_is_damaged_until_it_is_restored(
    scene: Scene, store: Store, kind: type[DamageLog | DamageRows], draw: int
) -> None:
    fault = kind(scene)
    target = hit(fault, draw)
    with suppress(DamagedCorpus):
        assert len(list(CorpusTable(store).states(2))) < 2
    fault.end(target)
    assert len(list(CorpusTable(store).states(2))) == 2

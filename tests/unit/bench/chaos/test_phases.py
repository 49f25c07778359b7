from __future__ import annotations

from pathlib import Path

from bench.chaos.phases import current_phase
from realm.records.states import State
from realm.records.store import Store
from tests.unit.gateway.site import MemorySearch, World


def test_the_phase_is_that_of_what_comes_after_live(tmp_path: Path) -> None:
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    store, generations = world.store, world.generations
    world.build(world.publish(seed=1, step=10))  # given up without a word
    first = world.go_live(seed=1, step=10)
    assert current_phase(store, first.number) == "rest"
    second = world.go_live(seed=2, step=20)
    assert current_phase(store, first.number) == "flip"
    assert current_phase(store, second.number) == "rest"
    assert current_phase(store, 0) == "rest"  # no gateway has answered yet
    candidate = world.build(world.publish(seed=3, step=30))
    assert current_phase(store, first.number) == "load"
    generations.record(candidate.number, State.VALIDATING)
    assert current_phase(store, second.number) == "validate"

"""The phase of the refresh under way, from the store alone."""

from __future__ import annotations

from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import vector_file

REST = "rest"
PHASES = ("embed", "load", "validate", "flip", REST)


def current_phase(store: Store, slowest_gateway: int) -> str:
    """One of `PHASES`.

    :param slowest_gateway: the oldest generation that a gateway last answered with.
    """
    generations = Generations(store)
    live = generations.live()
    newest = live.generation if live else 0
    # Who aims at a flip has a fifth of a second: older ones are not looked at.
    for number in sorted((n for n in generations.numbers() if n > newest), reverse=True):
        state = generations.state(number)
        if state in (None, State.BUILDING):
            return "embed" if _embedding(store, generations, number) else "load"
        if state is State.VALIDATING:
            return "validate"
    if 0 < slowest_gateway < newest:
        return "flip"
    return REST


def _embedding(store: Store, generations: Generations, number: int) -> bool:
    """Whether vectors of the candidate are missing."""
    generation = generations.get(number)
    name = Snapshots(store).get(generation.snapshot).name
    there = (vector_file(name, each) for each in generation.passage_files)
    return not all(map(store.exists, there))

from __future__ import annotations

import time
from pathlib import Path

from bench.chaos.sightings import Sightings
from realm.records.controls import record_damage
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.store import Store


def test_what_was_live_is_told_by_the_bench_s_own_clock(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    leader, generations = Generations(store), Generations(store)
    leader.create(Generation(1, 1, 1, 1, "f", 2, (), "c", 0.0, "test"))
    entry = leader.commit(1, after=None, by="", why="")
    sightings = Sightings(generations, store)
    sightings.look()
    between = time.time()
    # A leader takes over and repeats when it went live; an hour is on its clock alone.
    leader.fence(2, 2, "another")
    record_damage(store, 1, "its points are gone")
    first, second = sightings.history()
    assert (first.at, second.at) == (sightings.history()[0].at, sightings.history()[1].at)
    assert first.at <= between <= second.at
    assert second.sequence == entry.sequence + 1
    assert sightings.noticed[1] >= between

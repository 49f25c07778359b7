from __future__ import annotations

from bench.chaos.damage import NEVER, damages
from bench.chaos.faults.kinds import Effects, Fault
from realm.records.generation import LiveEntry


def test_a_damage_lasts_until_another_generation_is_live() -> None:
    history = [
        LiveEntry(1, 3, 90.0, "", ""),
        LiveEntry(2, 3, 110.0, "", "", term=2),
        LiveEntry(3, 4, 130.0, "", ""),
    ]
    faults = [
        Fault("kill", "indexer", 95.0, 95.0, "rest"),
        Fault("lose_points", "3", 100.0, 100.0, "rest", Effects(generation=3)),
        Fault("lose_collection", "4", 140.0, 140.0, "rest", Effects(generation=4)),
    ]
    first, second = damages(faults, history, {3: 104.0})
    assert (first.generation, first.began, first.replaced) == (3, 100.0, 130.0)
    assert first.noticed == 104.0
    assert (second.noticed, second.replaced) == (NEVER, NEVER)

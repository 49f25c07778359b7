from __future__ import annotations

from pathlib import Path

from bench.chaos.damage import LATE_SECONDS, NEVER, Damage, damages
from bench.chaos.faults.kinds import Effects, Fault
from bench.load.requests import Origin, RequestRecord
from bench.load.schedule import Kind as Request
from realm.records.controls import record_damage
from realm.records.generations import LiveEntry
from realm.records.store import Store

DAMAGE = Damage(3, began=100.0, noticed=104.0, replaced=130.0)


def record(at: float, *, generation: int = 3, claims: int = 7, failed: str = "") -> RequestRecord:
    origin = None if failed else Origin(generation, 1, 1, claims)
    return RequestRecord(
        Request.SEARCH, 0, at, at, at + 0.1, failed, "" if failed else "gone", origin
    )


def test_what_is_damaged_is_excused_until_it_is_known_and_then_if_it_claims_nothing() -> None:
    known = 104.0 + LATE_SECONDS
    assert DAMAGE.excuses(record(101.0))
    assert not DAMAGE.excuses(record(known + 1))
    assert DAMAGE.excuses(record(known + 1, claims=0))
    assert DAMAGE.excuses(record(known + 1, failed="UNAVAILABLE"))
    assert not DAMAGE.excuses(record(101.0, generation=2)), "that one is whole"
    assert not DAMAGE.excuses(record(90.0, failed="UNAVAILABLE"))
    assert not DAMAGE.excuses(record(131.0 + LATE_SECONDS, failed="UNAVAILABLE"))


def test_a_damage_lasts_until_another_generation_is_live(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    record_damage(store, 3, "its collection is gone")
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
    first, second = damages(faults, history, store)
    assert (first.generation, first.began, first.replaced) == (3, 100.0, 130.0)
    assert first.noticed < NEVER
    assert (second.noticed, second.replaced) == (NEVER, NEVER)

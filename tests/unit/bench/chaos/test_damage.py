from __future__ import annotations

from pathlib import Path

from bench.chaos.damage import LATE_SECONDS, NEVER, Damage, corpus_excuses, damage_excuses, damages
from bench.chaos.faults.kinds import Effects, Fault
from bench.history.promises import Promise
from realm.records.controls import record_damage
from realm.records.generations import LiveEntry
from realm.records.store import Store


def test_what_is_damaged_may_lack_something_until_it_is_known_and_fail_until_it_is_replaced() -> (
    None
):
    whole, available = damage_excuses([Damage(3, began=100.0, noticed=104.0, replaced=130.0)])
    assert (whole.promise, whole.generation) == (Promise.WHOLE, 3)
    assert (whole.began, whole.ended) == (100.0, 104.0 + LATE_SECONDS)
    assert (available.promise, available.gateway) == (Promise.AVAILABLE, None)
    assert (available.began, available.ended) == (100.0, 130.0 + LATE_SECONDS)


def test_a_damage_that_is_never_noticed_is_excused_to_the_end_and_judged_on_its_own() -> None:
    excuses = damage_excuses([Damage(3, began=100.0, noticed=NEVER, replaced=NEVER)])
    assert [each.ended for each in excuses] == [None, None]


def test_a_damaged_corpus_excuses_what_needs_it_and_no_other_file_excuses_anything() -> None:
    faults = [
        Fault("damage_rows", "x", 5.0, 9.0, "", Effects(paths=frozenset({"corpus/x.parquet"}))),
        Fault("corrupt", "y", 5.0, 9.0, "", Effects(paths=frozenset({"vectors/y.arrow"}))),
    ]
    (found,) = corpus_excuses(faults)
    assert (found.promise, found.writes, found.gateway) == (Promise.AVAILABLE, True, None)
    assert (found.began, found.ended) == (5.0, 9.0 + LATE_SECONDS)


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

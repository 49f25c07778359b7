"""What stands against embedding tasks, as one look at the store finds it."""

from __future__ import annotations

from typing import Any

from realm.errors import InvalidInput
from realm.records.failures import KILLED, Faults, clear_failure, quarantine, record_failure
from realm.records.store import Store

TASK: dict[str, Any] = {"snapshot": 1, "input_file": "passages/a.arrow"}


def test_a_look_tells_what_stands_against_each_task(store: Store) -> None:
    damaged = InvalidInput("torn", file="passages/a.arrow")
    record_failure(store, **TASK, output_file="vectors/torn", error=damaged)
    record_failure(store, **TASK, output_file="vectors/odd", error=InvalidInput("it says nothing"))
    quarantine(store, **TASK, output_file="vectors/deadly", deliveries=3)
    faults = Faults(store)
    outputs = ("vectors/torn", "vectors/odd", "vectors/deadly", "vectors/fine")
    assert [faults.of_content(each) for each in outputs] == ["", "it says nothing", KILLED, ""]
    torn = faults.failure_of("vectors/torn")
    assert torn is not None
    assert torn.blames_input


def test_what_is_cleared_after_the_look_stands_no_more(store: Store) -> None:
    record_failure(store, **TASK, output_file="vectors/odd", error=InvalidInput("it says nothing"))
    faults = Faults(store)
    clear_failure(store, "vectors/odd")
    assert faults.failure_of("vectors/odd") is None
    assert faults.of_content("vectors/odd") == ""

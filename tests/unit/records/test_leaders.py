"""Terms: one list tells who leads, and a record is read once."""

from __future__ import annotations

from pathlib import Path

from realm.records.leaders import Leaders, Term
from realm.records.store import Store

RECORD = "control/leader/000000000001.json"


def claimed(tmp_path: Path) -> tuple[Store, Term]:
    store, term = Store.open(str(tmp_path)), Term(1, "me", "here:1", 0.0, 0)
    Leaders(store).claim(term)
    return store, term


def test_a_record_that_was_read_is_known_though_it_is_damaged_later(tmp_path: Path) -> None:
    store, term = claimed(tmp_path)
    leaders = Leaders(store)
    assert leaders.look() == (term, False)
    store.write(RECORD, b"{")
    assert leaders.look() == (term, False)
    assert not leaders.record(1).by, "its leader asks for what is there, and mends it"


def test_a_damaged_record_is_read_again_until_it_is_whole(tmp_path: Path) -> None:
    store, term = claimed(tmp_path)
    whole = store.read(RECORD)
    store.write(RECORD, b"{")
    leaders = Leaders(store)
    assert leaders.newest() == Term(1, "", "", 0.0, floor=1)
    store.write(RECORD, whole)
    assert leaders.newest() == term


def test_a_beat_or_an_end_without_a_record_tells_of_a_term(tmp_path: Path) -> None:
    store, _ = claimed(tmp_path)
    leaders = Leaders(store)
    leaders.beat(2, 1)
    assert leaders.look() == (Term(2, "", "", 0.0, floor=2), False)
    leaders.end(2)
    assert leaders.look() == (Term(2, "", "", 0.0, floor=2), True)
    store.write("control/leader/notes.txt", b"")
    assert leaders.newest_number() == 2

"""What was acknowledged, and what follows from it."""

from hypothesis import given
from hypothesis import strategies as st

from bench.load.ledger import Ledger, Sighting, Write, compare, fresh_fault


def ledger(*writes: tuple[str, int | None, int]) -> Ledger:
    found = Ledger()
    for write in writes:
        found.acknowledged(*write)
    return found


def test_the_newest_acknowledged_write_is_the_state() -> None:
    found = ledger(("a", 0, 1), ("b", 0, 1), ("a", 1, 4), ("b", None, 5), ("c", 0, 3))
    assert found.present() == {"a": 4, "c": 3}
    assert found.state("b") == Write(None, 5)
    assert found.state("z") is None
    assert found.newest_version == 5
    assert found.last_revision("b") == 0
    assert found.last_revision("z") == -1
    assert len(found) == 3


def test_nothing_is_asked_of_a_document_whose_write_failed() -> None:
    found = ledger(("a", 0, 1), ("b", 0, 1))
    found.unknown("a")
    found.unknown("c")
    assert found.present() == {"b": 1}
    assert not found.is_unknown(Sighting("a", 9, 9))
    assert not found.is_unknown(Sighting("c", 9, 9))


def test_a_passage_is_outdated_if_its_response_holds_a_newer_write() -> None:
    found = ledger(("a", 0, 2), ("a", 1, 5), ("a", None, 8))
    assert not found.is_outdated(Sighting("a", 2, 4))
    assert found.is_outdated(Sighting("a", 2, 5))
    assert not found.is_outdated(Sighting("a", 5, 7))
    assert found.is_outdated(Sighting("a", 5, 8))
    # A response may show more than its version promises.
    assert not found.is_outdated(Sighting("a", 5, 3))


def test_a_version_that_nobody_wrote_is_unknown() -> None:
    found = ledger(("a", 0, 2), ("a", None, 4))
    assert not found.is_unknown(Sighting("a", 2, 9))
    assert found.is_unknown(Sighting("a", 3, 9))
    assert found.is_unknown(Sighting("a", 4, 9))
    assert found.is_unknown(Sighting("b", 2, 9))


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 25), st.integers(0, 25))
def test_outdated_means_a_write_in_between(kinds: list[bool], seen: int, holds: int) -> None:
    found = Ledger()
    for version, is_delete in enumerate(kinds, start=1):
        found.acknowledged("a", None if is_delete else version, version)
    between = any(seen < version <= holds for version in range(1, len(kinds) + 1))
    assert found.is_outdated(Sighting("a", seen, holds)) == between


def test_a_fresh_read_holds_what_was_just_written() -> None:
    upsert, deletion = Write(3, 7), Write(None, 9)
    assert fresh_fault(upsert, 7, [7]) == ""
    assert "got 6" in fresh_fault(upsert, 6, [7])
    assert "none" in fresh_fault(upsert, 7, [])
    assert "[5]" in fresh_fault(upsert, 8, [5])
    assert fresh_fault(deletion, 9, []) == ""
    assert "found at 7" in fresh_fault(deletion, 9, [7])


def test_a_collection_is_compared_both_ways() -> None:
    expected = {"a": 1, "b": 2, "c": 3}
    assert compare(expected, {"a": {1}, "b": {2}, "c": {3}}) == ([], [])
    found = {"a": {1}, "b": {1, 2}, "d": {4}}
    assert compare(expected, found) == (["c"], ["b", "d"])

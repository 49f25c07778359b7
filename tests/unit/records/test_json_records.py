"""JSON records: what is damaged or altered is told from what was written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from realm.errors import Corrupt, NotFound
from realm.records.json_records import KnownRecords, as_record, from_bytes, numbered, to_bytes
from realm.records.store import Store

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key != "checksum"), VALUES)


@dataclass(frozen=True)
class Kea:
    number: int
    name: str
    weight: float = 1.0


@given(OBJECTS)
def test_what_is_read_is_what_was_written(value: dict[str, object]) -> None:
    assert from_bytes(to_bytes(value), "x") == value


@given(OBJECTS, st.data())
def test_one_byte_that_differs_is_noticed(value: dict[str, object], data: st.DataObject) -> None:
    stored = bytearray(to_bytes(value))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    try:
        found = from_bytes(bytes(stored), "x")
    except (Corrupt, UnicodeDecodeError):
        return
    # White space means nothing; a checksum whose name is damaged is not there.
    assert found == value or "checksum" not in json.loads(bytes(stored))


def test_names_that_are_no_unicode_are_recorded_too() -> None:
    """A file's name may be any bytes; what says that it is damaged must be written all the same."""
    value = {"why": "\udcff.md is damaged"}
    assert from_bytes(to_bytes(value), "record") == value


def test_a_record_of_before_there_were_checksums_is_read() -> None:
    assert from_bytes(json.dumps({"a": 1}).encode(), "x") == {"a": 1}


def test_a_record_of_a_newer_release_is_read() -> None:
    kea = Kea(1, "Nestor", 2)
    assert as_record(Kea, {**asdict(kea), "wings": 2}, "x") == kea


@pytest.mark.parametrize(
    "value", [{"number": 1}, {"number": "1", "name": "a"}, {"number": 1, "name": 2}, [], None, "x"]
)
def test_what_is_no_such_record_is_corrupt(value: object) -> None:
    with pytest.raises(Corrupt, match="x"):
        as_record(Kea, value, "x")


def test_only_numbered_names_are_ours() -> None:
    names = ["a/2.json", "a/10.json", "a/x.json", "a/3.json~", "a/4.json.swp", "a/\u0663.json"]
    assert numbered(names, ".json") == [(2, "a/2.json"), (10, "a/10.json")]


def known(store: Store) -> KnownRecords[Kea]:
    return KnownRecords(store, Kea, "kea_passed_over", lambda kea: f"keas/{kea.number}.json")


def test_a_record_that_never_changes_is_read_once(store: Store) -> None:
    store.write_json("keas/1.json", asdict(Kea(1, "a")))
    records = known(store)
    assert records.get("keas/1.json") == Kea(1, "a")
    store.delete("keas/1.json")
    assert records.find("keas/1.json") == Kea(1, "a")
    assert known(store).find("keas/1.json") is None
    with pytest.raises(NotFound):
        known(store).get("keas/1.json")


@pytest.mark.parametrize("content", [b"{", to_bytes(asdict(Kea(2, "of another place")))])
def test_a_damaged_record_is_told_once_and_passed_over(store: Store, content: bytes) -> None:
    store.write("keas/1.json", content)
    records = known(store)
    with capture_logs() as told:
        assert [records.find("keas/1.json") for _ in range(3)] == [None, None, None]
    assert [each["event"] for each in told] == ["kea_passed_over"]
    with pytest.raises(Corrupt):
        records.get("keas/1.json")
    store.write_json("keas/1.json", asdict(Kea(1, "mended")))
    assert records.find("keas/1.json") == Kea(1, "mended")

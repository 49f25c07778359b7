"""API keys in the store: what is kept of them, and their end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from realm.errors import Corrupt, InvalidInput, NotFound
from realm.filters import where
from realm.records.keys import ApiKeys, Scope, id_of
from realm.records.store import Store
from realm.v1.types_pb2 import Filter


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_a_key_opens_its_record_alone(store: Store) -> None:
    keys = ApiKeys(store)
    first, record = keys.create("one", [Scope.ASK])
    second, other = keys.create("two", [Scope.ASK])
    assert record.opens_with(first)
    assert not record.opens_with(second)
    assert not record.opens_with(first[:-1])
    assert (id_of(first), id_of(second)) == (record.id, other.id)
    assert id_of(f"{first}x") == id_of("realm_") == id_of("") == ""


def test_the_store_never_holds_what_opens(store: Store) -> None:
    key, _ = ApiKeys(store).create("one", [Scope.ASK])
    secret = key.rpartition("_")[2].encode() if "_" in key[23:] else key[23:].encode()
    for path in store.files(""):
        assert key.encode() not in store.read(path)
        assert secret not in store.read(path)


def test_keys_are_read_back_as_they_were_made(store: Store) -> None:
    before = time.time()
    _, made = ApiKeys(store).create(
        "one", [Scope.OPERATE, Scope.ASK, Scope.ASK], seconds=60, filter=where("tenant=a")
    )
    assert ApiKeys(store).all() == [made]
    assert made.reach() == where("tenant=a")
    assert made.scopes == (Scope.ASK, Scope.OPERATE)
    assert made.expires_at - made.created_at == pytest.approx(60)
    assert not made.expired(before)
    assert made.expired(made.expires_at)


def test_a_revocation_is_for_ever_and_the_first_one_counts(store: Store) -> None:
    keys = ApiKeys(store)
    _, record = keys.create("one", [Scope.ASK])
    assert keys.revoked() == frozenset()
    first = keys.revoke(record.id, "lost")
    assert keys.revoke(record.id, "again") == first
    assert first.why == "lost"
    assert ApiKeys(store).revoked() == {record.id}
    assert keys.all() == [record]
    with pytest.raises(NotFound):
        keys.revoke("0" * 16)


def test_a_damaged_key_counts_no_more_and_can_be_revoked(store: Store) -> None:
    keys = ApiKeys(store)
    _, record = keys.create("one", [Scope.ASK])
    path = f"keys/{record.id}.json"
    store.write(path, store.read(path).replace(b'"ask"', b'"operate"'))
    assert ApiKeys(store).all() == []
    assert ApiKeys(store).revoke(record.id).id == record.id


def test_a_key_under_another_name_is_none(store: Store) -> None:
    """Whoever may only copy files must not bring a revoked key back."""
    keys = ApiKeys(store)
    _, record = keys.create("one", [Scope.ASK])
    store.write(f"keys/{'0' * 16}.json", store.read(f"keys/{record.id}.json"))
    assert [each.id for each in ApiKeys(store).all()] == [record.id]


@pytest.mark.parametrize(("name", "scopes"), [("", [Scope.ASK]), (" ", [Scope.ASK]), ("one", [])])
def test_a_key_has_a_name_and_a_scope(store: Store, name: str, scopes: list[Scope]) -> None:
    with pytest.raises(InvalidInput):
        ApiKeys(store).create(name, scopes)
    assert ApiKeys(store).all() == []


def test_a_filter_that_cannot_be_read_opens_nothing(store: Store) -> None:
    """As one of a newer release, with conditions that this one does not know."""
    _, made = ApiKeys(store).create("one", [Scope.ASK], filter=where("tenant=a"))
    for unknown in ('{"near": {"key": "tenant"}}', '{"all": {"filters": []}}', "{}", "["):
        with pytest.raises(Corrupt):
            replace(made, filter=unknown).reach()
    with pytest.raises(InvalidInput):
        ApiKeys(store).create("one", [Scope.ASK], filter=Filter())

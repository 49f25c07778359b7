"""Snapshots: numbered by publication, complete or absent, checked by checksum."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from realm.errors import Corrupt, NotFound
from realm.records.snapshots import MANIFEST, Lag, Snapshot, Snapshots, lag_behind
from realm.records.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "reader.safetensors").write_bytes(b"weights")
    return made


def publish(store: Store, folder: Path, step: int = 0) -> Snapshot:
    return Snapshots(store).publish(folder, step=step, fingerprint="f", vector_size=4)


def test_a_later_publication_is_newer_whatever_its_step(store: Store, folder: Path) -> None:
    publish(store, folder, step=100)
    restarted = publish(store, folder, step=50)
    assert Snapshots(store).newest() == restarted
    assert restarted.number == 2


def test_publishers_at_once_take_different_numbers(store: Store, folder: Path) -> None:
    threads = [threading.Thread(target=publish, args=(store, folder)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [snapshot.number for snapshot in Snapshots(store).all()] == [1, 2, 3, 4, 5, 6]


def test_without_a_manifest_there_is_no_snapshot(store: Store, folder: Path) -> None:
    first = publish(store, folder)
    half = publish(store, folder)
    store.delete(f"{half.folder}/{MANIFEST}")
    assert Snapshots(store).newest() == first
    with pytest.raises(NotFound, match="snapshot 2"):
        Snapshots(store).get(2)


def test_files_come_back_as_they_were(store: Store, folder: Path) -> None:
    local = Snapshots(store).materialise(publish(store, folder))
    assert (local / "reader.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("damage", [b"weightz", None])
def test_a_damaged_snapshot_names_the_file(
    store: Store, folder: Path, damage: bytes | None
) -> None:
    snapshot = publish(store, folder)
    path = f"{snapshot.folder}/reader.safetensors"
    store.delete(path) if damage is None else store.write(path, damage)
    with pytest.raises(Corrupt, match=r"reader\.safetensors"):
        Snapshots(store).materialise(snapshot)


def test_a_deleted_snapshot_is_gone_and_its_number_is_not_used_again(
    store: Store, folder: Path
) -> None:
    snapshots = Snapshots(store)
    snapshots.delete(publish(store, folder))
    assert snapshots.newest() is None
    assert publish(store, folder).number == 2


def snapshot(number: int, step: int, at: float) -> Snapshot:
    return Snapshot(number, "d", step, at, None, "f", 2, {})


PUBLISHED = [snapshot(1, 0, 100.0), snapshot(2, 40, 160.0), snapshot(3, 80, 220.0)]
RESTARTED = [*PUBLISHED, snapshot(4, 60, 280.0)]


@pytest.mark.parametrize(
    ("published", "number", "step", "lag"),
    [
        pytest.param(PUBLISHED, 3, 80, Lag(), id="newest"),
        pytest.param(PUBLISHED, 1, 0, Lag(80, 160.0), id="two behind"),
        pytest.param(PUBLISHED, 2, 40, Lag(40, 220.0), id="one behind"),
        pytest.param(RESTARTED, 3, 80, Lag(0, 280.0), id="newer snapshot of an older step"),
        pytest.param(PUBLISHED[2:], 1, 0, Lag(80, 220.0), id="its own record is gone"),
    ],
)
def test_lag_counts_from_the_oldest_newer_snapshot(
    published: list[Snapshot], number: int, step: int, lag: Lag
) -> None:
    assert lag_behind(published, number, step) == lag
    assert lag.seconds(300.0) == (300.0 - lag.since if lag.since else 0.0)

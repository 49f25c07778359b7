from __future__ import annotations

from pathlib import Path

import pytest
import torch

from realm.errors import Corrupt
from realm.model.publishing import publish_model
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.embedder.encoders import Encoders
from tests.tiny import letter_model

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def test_a_snapshot_is_loaded_once(store: Store) -> None:
    snapshot = publish_model(Snapshots(store), letter_model())
    encoders = Encoders(Snapshots(store), CPU, keep=2)
    assert encoders.passage(snapshot) is encoders.passage(snapshot)


def test_the_one_not_used_longest_goes(store: Store) -> None:
    snapshots = Snapshots(store)
    first, second, third = (publish_model(snapshots, letter_model(seed)) for seed in range(3))
    encoders = Encoders(snapshots, CPU, keep=2)
    kept = encoders.passage(first)
    encoders.passage(second)
    assert encoders.passage(first) is kept
    encoders.passage(third)
    assert encoders.loaded == [first.number, third.number]
    assert encoders.passage(first) is kept
    assert encoders.newest_step == third.step


def test_shared_towers_are_one_object_and_separate_ones_are_two(store: Store) -> None:
    shared = publish_model(Snapshots(store), letter_model())
    separate = publish_model(Snapshots(store), letter_model(shared_towers=False))
    encoders = Encoders(Snapshots(store), CPU, keep=2)
    assert encoders.query(shared) is encoders.passage(shared)
    assert encoders.query(separate) is not encoders.passage(separate)
    assert encoders.query(separate) is encoders.query(separate)


def test_query_encoder_is_left_alone_until_it_is_needed(store: Store) -> None:
    snapshot = publish_model(Snapshots(store), letter_model(shared_towers=False))
    store.delete(f"{snapshot.folder}/query_encoder.safetensors")
    encoders = Encoders(Snapshots(store), CPU, keep=2)
    encoders.passage(snapshot)
    with pytest.raises(Corrupt, match="query_encoder"):
        encoders.query(snapshot)


def test_unusable_snapshot_costs_no_encoder_in_memory(store: Store) -> None:
    good, bad = (publish_model(Snapshots(store), letter_model(seed)) for seed in range(2))
    store.delete(f"{bad.folder}/passage_encoder.safetensors")
    encoders = Encoders(Snapshots(store), CPU, keep=1)
    encoders.passage(good)
    with pytest.raises(Corrupt, match="passage_encoder"):
        encoders.passage(bad)
    assert encoders.loaded == [good.number]

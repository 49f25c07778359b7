"""Encoders of the snapshots in use: loaded once, on first use, the least recently used dropped."""

from __future__ import annotations

import pytest
import torch

from realm.errors import Corrupt
from realm.model.publishing import publish_model
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.embedder.encoding import Compute, Encoders
from tests.tiny import letter_model
from tests.unit.embedder.conftest import CPU


def encoders_of(store: Store, keep: int = 2) -> Encoders:
    return Encoders(Snapshots(store), CPU, keep, Compute(None, torch.float32))


def test_the_least_recently_used_snapshot_is_dropped(store: Store) -> None:
    first, second, third = (
        publish_model(Snapshots(store), letter_model(seed), step=seed) for seed in range(3)
    )
    encoders = encoders_of(store)
    kept, dropped = encoders.passage(first), encoders.passage(second)
    assert encoders.passage(first) is kept
    encoders.passage(third)
    assert encoders.passage(first) is kept
    assert encoders.newest_step == third.step
    assert encoders.passage(second) is not dropped


def test_shared_towers_are_one_object_and_separate_ones_are_two(store: Store) -> None:
    shared = publish_model(Snapshots(store), letter_model())
    separate = publish_model(Snapshots(store), letter_model(shared_towers=False))
    encoders = encoders_of(store)
    assert encoders.query(shared) is encoders.passage(shared)
    assert encoders.query(separate) is not encoders.passage(separate)
    assert encoders.query(separate) is encoders.query(separate)


def test_the_query_encoder_is_not_read_until_it_is_needed(store: Store) -> None:
    snapshot = publish_model(Snapshots(store), letter_model(shared_towers=False))
    store.delete(f"{snapshot.folder}/query_encoder.safetensors")
    encoders = encoders_of(store)
    encoders.passage(snapshot)
    with pytest.raises(Corrupt, match="query_encoder"):
        encoders.query(snapshot)


def test_an_unusable_snapshot_drops_no_encoder(store: Store) -> None:
    good, bad = (publish_model(Snapshots(store), letter_model(seed)) for seed in range(2))
    store.delete(f"{bad.folder}/passage_encoder.safetensors")
    encoders = encoders_of(store, keep=1)
    kept = encoders.passage(good)
    with pytest.raises(Corrupt, match="passage_encoder"):
        encoders.passage(bad)
    assert encoders.passage(good) is kept

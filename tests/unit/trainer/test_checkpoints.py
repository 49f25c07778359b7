"""Checkpoints come back exactly, are whole or nothing, and only two stay."""

from __future__ import annotations

import time

import pytest
import torch

from realm.model.checkpoint import Model
from realm.records.store import Store
from services.trainer.checkpoints import Checkpoint, Checkpoints

OPTIMIZER = {"reader.x/exp_avg": torch.arange(4.0), "reader.x/step": torch.tensor(3.0)}


def at(step: int, model: Model, **state: object) -> Checkpoint:
    return Checkpoint(step, model, OPTIMIZER, {"sampler": {"epoch": 0, "position": step}, **state})


def newest(store: Store) -> Checkpoint:
    found = Checkpoints(store).newest()
    assert found is not None
    return found


def test_a_checkpoint_comes_back_as_it_was(store: Store, model: Model) -> None:
    assert Checkpoints(store).newest() is None
    Checkpoints(store).save(at(7, model))
    found = newest(store)
    assert found.step == 7
    assert found.state["sampler"] == {"epoch": 0, "position": 7}
    assert found.optimizer.keys() == OPTIMIZER.keys()
    assert all(torch.equal(found.optimizer[name], OPTIMIZER[name]) for name in OPTIMIZER)
    for saved, loaded in (
        (model.retriever, found.model.retriever),
        (model.reader, found.model.reader),
    ):
        for name, value in saved.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name])


def test_only_the_last_two_stay(store: Store, model: Model) -> None:
    checkpoints = Checkpoints(store)
    for step in (5, 10, 15):
        checkpoints.save(at(step, model))
    assert store.folders("checkpoints") == ["0000000010", "0000000015"]


def test_newest_is_the_last_written_not_the_highest_step(store: Store, model: Model) -> None:
    checkpoints = Checkpoints(store)
    checkpoints.save(at(50, model))
    checkpoints.save(at(20, model))
    assert newest(store).step == 20


@pytest.mark.parametrize(
    "file", ["reader.safetensors", "optimizer.safetensors", "state.json", "manifest.json", None]
)
def test_a_damaged_or_forgotten_checkpoint_leaves_the_one_before(
    store: Store, model: Model, file: str | None
) -> None:
    checkpoints = Checkpoints(store)
    checkpoints.save(at(5, model))
    checkpoints.save(at(10, model))
    if file is None:
        checkpoints.forget(10)
    elif file == "manifest.json":
        store.delete("checkpoints/0000000010/manifest.json")
    else:
        data = bytearray(store.read(f"checkpoints/0000000010/{file}"))
        data[len(data) // 2] ^= 1
        store.write(f"checkpoints/0000000010/{file}", bytes(data))
    assert newest(store).step == 5


def test_a_step_may_be_saved_again(store: Store, model: Model) -> None:
    checkpoints = Checkpoints(store)
    checkpoints.save(at(5, model, note="first"))
    checkpoints.save(at(5, model, note="second"))
    assert newest(store).state["note"] == "second"


def test_nothing_is_pickled(store: Store, model: Model) -> None:
    Checkpoints(store).save(at(5, model))
    names = {path.rsplit(".", 1)[-1] for path in store.files("checkpoints")}
    assert names == {"json", "safetensors"}


def test_the_last_written_stays_the_newest_when_the_clock_goes_back(
    store: Store, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine, to which the trainer was moved."""
    checkpoints, now = Checkpoints(store), time.time()
    for step, hours in ((10, 0), (20, -1), (30, -2), (40, 5)):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + 3600 * hours)
        checkpoints.save(at(step, model))
        assert newest(store).step == step
    assert store.folders("checkpoints") == ["0000000030", "0000000040"]


def test_checkpoints_of_an_older_release_come_before_all_newer_ones(
    store: Store, model: Model
) -> None:
    checkpoints = Checkpoints(store)
    checkpoints.save(at(5, model))
    path = "checkpoints/0000000005/manifest.json"
    manifest = store.read_json(path)
    del manifest["sequence"]
    store.write_json(path, {**manifest, "created_at": time.time() + 3600})
    assert newest(store).step == 5
    checkpoints.save(at(10, model))
    assert newest(store).step == 10

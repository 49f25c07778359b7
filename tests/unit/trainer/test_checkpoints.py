"""Checkpoints come back exactly, are whole or nothing, and only two stay."""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path

import pytest
import torch

from realm.errors import BadSettings
from realm.model.checkpoint import Model, build_retriever, new_model, write_model
from realm.model.config import Projection
from realm.model.hugging_face import export_model, import_model
from realm.model.publishing import load_source, publish_model
from realm.objectives.inverse_cloze import InverseCloze
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import Settings
from realm.training.learner import Learner
from services.trainer.checkpoints import Checkpoint, Checkpoints, Origin, find_origin
from tests import tiny

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


@pytest.fixture
def settings(base: Path) -> Settings:
    return tiny.settings(base_model=str(base))


def find(settings: Settings, store: Store) -> Origin:
    """As a trainer does at start: it notes what it began with."""
    origin = find_origin(settings, Checkpoints(store), Snapshots(store))
    Checkpoints(store).record_source(origin.source)
    return origin


def publish(store: Store, origin: Origin, step: int, folder: Path) -> None:
    """As the trainer does: the new snapshot comes of the newest."""
    snapshots = Snapshots(store)
    newest = snapshots.newest()
    write_model(folder, origin.model)
    snapshots.publish(
        folder,
        step=step,
        fingerprint=origin.model.inputs.fingerprint,
        vector_size=32,
        parent=newest.number if newest else None,
    )


def save(store: Store, origin: Origin, step: int) -> None:
    newest = Snapshots(store).newest()
    state = {"snapshot": newest.number if newest else 0}
    Checkpoints(store).save(Checkpoint(step, origin.model, {}, state))


def imported(base: Path, folder: Path) -> Model:
    """A model that came as a checkpoint of transformers' REALM."""
    made = new_model(
        base,
        seed=5,
        pooling="cls",
        projection=Projection(8),
        lengths=tiny.LIMITS,
        span_hidden_size=16,
    )
    pooled = {**made.retriever.passage.state_dict()}
    for name, shape in (("weight", (32, 32)), ("bias", (32,))):
        pooled[f"backbone.pooler.dense.{name}"] = torch.full(shape, 0.01)
    config = dataclasses.replace(made.config, pooling="pooler", scale_init=1.0)
    towers = build_retriever(config, pooled, pooled)
    export_model(folder, Model(config, made.inputs, towers, made.reader), "embedder")
    return import_model(folder)


def test_base_then_snapshot_then_checkpoint_then_another_base(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    begun = find(settings, store)
    assert (begun.step, begun.checkpoint, begun.unpublished) == (0, None, True)
    assert begun.model.inputs.limits.query == tiny.LIMITS.query
    assert begun.model.config.candidates == settings.model.candidates
    publish(store, begun, 40, tmp_path / "a")
    origin = find(settings, store)
    assert (origin.step, origin.checkpoint, origin.unpublished) == (40, None, False)
    save(store, begun, 55)
    origin = find(settings, store)
    assert origin.checkpoint is not None
    assert (origin.step, origin.unpublished) == (55, False)
    assert find(settings.replace(train=False), store).step == 40
    other = tiny.write_base(tmp_path / "other", seed=9)
    origin = find(settings.replace(base_model=str(other)), store)
    assert (origin.step, origin.checkpoint, origin.unpublished) == (0, None, True)


@pytest.mark.parametrize("kind", ["another base", "REALM of transformers"])
def test_a_model_published_by_others_is_trained_on_whatever_its_base(
    settings: Settings, store: Store, base: Path, tmp_path: Path, kind: str
) -> None:
    begun = find(settings, store)
    publish(store, begun, 40, tmp_path / "a")
    save(store, begun, 55)
    if kind == "another base":
        other = load_source(tiny.write_base(tmp_path / "other", seed=9), settings)
    else:
        other = imported(base, tmp_path / "realm")
    publish_model(Snapshots(store), other, step=7)
    for _ in range(2):
        origin = find(settings, store)
        assert (origin.step, origin.checkpoint, origin.unpublished) == (7, None, False)
        assert origin.model.config.base_sha256 == other.config.base_sha256
        assert origin.model.config.pooling == other.config.pooling
    # It learns, publishes and saves; then its own checkpoint is what it resumes.
    learner = Learner(origin.model, settings, origin.step)
    objective = InverseCloze(
        origin.model.inputs, batch_size=4, removal_share=0.9, passage_tokens=96
    )
    batch = objective.batch(iter(tiny.passages(origin.model.inputs)), random.Random(0))
    before = {name: p.clone() for name, p in learner.weights().items()}
    learner.learn(learner.loss(objective, batch).value, "inverse_cloze")
    assert any(not torch.equal(p, before[name]) for name, p in learner.weights().items())
    publish(store, origin, 8, tmp_path / "b")
    save(store, origin, 9)
    again = find(settings, store)
    assert again.checkpoint is not None
    assert again.step == 9


def test_snapshots_after_the_checkpoint_do_not_hide_it(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    begun = find(settings, store)
    publish(store, begun, 40, tmp_path / "a")
    save(store, begun, 55)
    for step in (60, 70):
        publish(store, begun, step, tmp_path / f"at {step}")
    assert find(settings, store).step == 55
    Snapshots(store).delete(Snapshots(store).get(2))  # tidied away
    assert find(settings, store).step == 55


def test_a_checkpoint_of_an_older_release_is_resumed(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    begun = find_origin(settings, Checkpoints(store), Snapshots(store))
    publish(store, begun, 40, tmp_path / "a")
    Checkpoints(store).save(Checkpoint(55, begun.model, {}, {}))
    assert find(settings, store).step == 55


def test_a_folder_of_ours_may_be_the_base(
    settings: Settings, base: Path, store: Store, tmp_path: Path
) -> None:
    write_model(tmp_path / "ours", imported(base, tmp_path / "realm"))
    own = settings.replace(base_model=str(tmp_path / "ours"))
    origin = find(own, store)
    assert (origin.step, origin.unpublished, origin.from_base) == (0, True, True)
    assert origin.model.config.projection == Projection(8)
    publish(store, origin, 0, tmp_path / "a")
    assert find(own, store).step == 0
    save(store, origin, 12)
    assert find(own, store).step == 12
    # Another model of the same base is another beginning.
    write_model(tmp_path / "ours", tiny.make_model(base))
    assert find(own, store).from_base


def test_the_models_shape_is_what_the_settings_say(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    shaped = settings.replace(pooling="cls", projection=8, towers="two", marginal="token")
    origin = find(shaped, store)
    config = origin.model.config
    assert (config.pooling, config.projection) == ("cls", Projection(8))
    assert (config.shared_towers, config.marginal) == (False, "token")
    assert origin.model.retriever.query is not origin.model.retriever.passage
    publish(store, origin, 40, tmp_path / "a")
    # Later a setting decides of what is no weight; the rest is the model's own.
    kept = find(settings, store).model.config
    assert (kept.pooling, kept.projection, kept.marginal) == ("cls", Projection(8), "token")
    turned = settings.replace(marginal="sequence", pooling="mean")
    config = find(turned, store).model.config
    assert (config.marginal, config.pooling) == ("sequence", "cls")


def test_two_towers_may_come_later(settings: Settings, store: Store, tmp_path: Path) -> None:
    publish(store, find(settings, store), 40, tmp_path / "a")
    origin = find(settings.replace(towers="two"), store)
    assert not origin.model.config.shared_towers
    assert origin.step == 40


def test_a_base_without_pooler_cannot_be_pooled_by_it(settings: Settings, store: Store) -> None:
    with pytest.raises(BadSettings, match="has no pooler"):
        find(settings.replace(pooling="pooler"), store)


def test_other_lengths_need_a_snapshot_that_says_so(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    publish(store, find(settings, store), 40, tmp_path / "a")
    longer = settings.replace(passage_tokens=tiny.LIMITS.passage + 8)
    origin = find(longer, store)
    assert (origin.step, origin.unpublished) == (40, True)
    assert origin.model.inputs.limits.passage == tiny.LIMITS.passage + 8
    assert origin.model.config.lengths == origin.model.inputs.limits

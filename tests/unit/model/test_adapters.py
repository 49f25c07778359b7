"""LoRA: only the adapters of each kind of base learn, and what is written is an ordinary model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from realm.errors import Corrupt
from realm.model.adapters import adapter_weights, copied_weights, load_adapters
from realm.model.checkpoint import (
    Model,
    copy_model,
    load_model,
    new_model,
    without_adapters,
    write_model,
)
from realm.model.frozen_encoder import encode
from realm.model.publishing import publish_model
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.training.learner import Learner
from tests import tiny
from tests.unit.model.test_transformer import write_kind

KINDS = ["bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "modernbert", "electra"]
TEXTS = ["the tower is in paris", "who built the river"]
SETTINGS = {"lora_rank": 4, "warmup_steps": 0, "retriever_learning_rate": 1e-2}

pytest.importorskip("peft")


def model_of(kind: str, folder: Path) -> Model:
    base = tiny.write_base(folder) if kind == "bert" else write_kind(folder, kind)
    return new_model(base, normalize=True, starter=False)


def vectors_of(model: Model) -> Vectors:
    inputs = [model.inputs.query(text) for text in TEXTS]
    return encode(model.retriever.query, inputs, model.inputs.pad)


def learn(model: Model, steps: int = 3) -> Learner:
    """Pulls the two texts' vectors apart."""
    learner = Learner(model, tiny.settings(**SETTINGS))
    for _ in range(steps):
        encoded = [model.inputs.query(text) for text in TEXTS]
        rows = [torch.tensor([each.ids]) for each in encoded]
        one, other = (
            model.retriever.query(
                ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool)
            )
            for ids in rows
        )
        learner.learn((one * other).sum(), "test")
    return learner


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_each_kind_learns_by_adapters_and_is_written_as_an_ordinary_one(
    kind: str, tmp_path: Path
) -> None:
    model = model_of(kind, tmp_path / "base")
    fresh = copy_model(model)
    before = vectors_of(model)
    learner = learn(model, steps=0)
    # An encoder with adapters is computed in another order.
    np.testing.assert_allclose(vectors_of(model), before, atol=1e-6)
    top = max(int(name.split("layer")[1].split(".")[1]) for name in names_of(model))
    assert top == len(model.retriever.query.backbone.layers) - 1
    learn(model)
    learnt = vectors_of(model)
    assert np.abs(learnt - before).max() > 1e-3
    for name, parameter in fresh.retriever.query.backbone.named_parameters():
        now = dict(model.retriever.query.backbone.named_parameters())
        kept = now.get(name, now.get(name.replace(".weight", ".base_layer.weight")))
        if kept is None:
            kept = now[name.replace(".bias", ".base_layer.bias")]
        assert torch.equal(kept, parameter), f"{name} has changed"
    learning = [name for name in learner.weights() if ".backbone." in name]
    assert learning
    assert all(".lora_" in name for name in learning)

    write_model(tmp_path / "written", model)
    written = load_model(tmp_path / "written")
    assert not adapter_weights(written.retriever)
    np.testing.assert_allclose(vectors_of(written), learnt, atol=1e-5)
    assert (vectors_of(model) == learnt).all(), "the model in training keeps its adapters"
    bare = without_adapters(model, merge=False)
    assert (vectors_of(bare) == before).all()
    further = Learner(written, tiny.settings(trainable_layers=1))
    assert not any(".lora_" in name for name in further.weights())


def names_of(model: Model) -> list[str]:
    return list(adapter_weights(model.retriever.query.backbone))


def test_what_a_trainer_publishes_with_adapters_is_an_ordinary_snapshot(
    store: Store, model: Model
) -> None:
    learn(model)
    learnt = vectors_of(model)
    snapshots = Snapshots(store)
    publish_model(snapshots, copy_model(model), step=3)
    newest = snapshots.newest()
    assert newest is not None
    published = load_model(snapshots.materialise(newest))
    np.testing.assert_allclose(vectors_of(published), learnt, atol=1e-5)


def test_adapters_of_another_rank_are_not_taken(model: Model) -> None:
    learn(model, steps=0)
    weights = copied_weights(model.retriever)
    load_adapters(model.retriever, weights)
    name = next(iter(weights))
    with pytest.raises(Corrupt, match="do not fit"):
        load_adapters(model.retriever, {**weights, name: weights[name][:1, :1]})
    with pytest.raises(Corrupt, match="do not fit"):
        load_adapters(model.retriever, {})

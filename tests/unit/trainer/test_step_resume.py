"""A killed trainer repeats an uninterrupted run to the last bit, whatever is switched on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from realm.corpus.passages import to_table
from realm.model.checkpoint import Model, copy_model
from realm.records.store import Store
from realm.settings import Settings
from services.trainer.checkpoints import Checkpoint, Checkpoints, Origin
from services.trainer.data import CorpusView, Sampler
from services.trainer.run import make_runner, resume
from tests import tiny
from tests.unit.objectives.searches import ExactSearch

OPTIONS: dict[str, dict[str, object]] = {
    "adapters": {"lora_rank": 4, "trainable_layers": 2},
    "parts": {"accumulate_steps": 2},
    "bfloat16": {"train_precision": "bfloat16"},
    "recomputed": {"recompute_activations": True},
    "cosine": {"schedule": "cosine", "max_steps": 8},
    "ulmfit": {
        "schedule": "slanted",
        "max_steps": 8,
        "layer_decay": 0.4,
        "unfreeze_every_steps": 2,
        "trainable_layers": 3,
    },
    "siatl": {
        "objectives": "cloze_qa=1,masked_lm=1",
        "auxiliary_lm_weight": 0.2,
        "auxiliary_lm_half_life": 3,
    },
}


def train(
    model: Model, indexed: Model, settings: Settings, steps: int, found: Checkpoint | None
) -> tuple[list[dict[str, float]], Checkpoint]:
    """Figures of each step, and what a checkpoint holds in the end."""
    passages = tiny.passages(model.inputs)
    view = CorpusView(("all",), {"all": to_table(passages)})
    origin = Origin(model, found.step if found else 0, found, unpublished=False)
    runner = make_runner(settings, origin, ExactSearch(indexed, passages))
    position: dict[str, Any] = {"epoch": 0, "position": 0}
    if found is not None:
        resume(runner, found)
        position = found.state["sampler"]
    else:
        runner.learner.lr_scale = 0.5  # as after a divergence
    sampler = Sampler(view, settings.trainer.seed, **position)
    figures = [runner.step(sampler, has_index=True).figures for _ in range(steps)]
    state = {
        "sampler": sampler.state(),
        "objectives": runner.state(),
        "caution": runner.learner.lr_scale,
    }
    learner = runner.learner
    made = Checkpoint(learner.step, copy_model(model), learner.state(), state, learner.weights())
    return figures, made


def parameters(model: Model) -> dict[str, Tensor]:
    return {**model.retriever.state_dict(), **model.reader.state_dict()}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_restart_repeats_an_uninterrupted_run(base: Path, store: Store, name: str) -> None:
    settings = tiny.settings(**{"train_precision": "float32", **OPTIONS[name]})
    indexed = tiny.make_model(base)
    whole, end = train(tiny.make_model(base), indexed, settings, 6, None)
    first, middle = train(tiny.make_model(base), indexed, settings, 3, None)
    Checkpoints(store).save(middle)
    found = Checkpoints(store).newest()
    assert found is not None
    second, end_again = train(found.model, indexed, settings, 3, found)
    assert first + second == whole
    expected, got = parameters(end.model), parameters(end_again.model)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_the_best_weights_survive(store: Store, model: Model, base: Path) -> None:
    _, made = train(model, tiny.make_model(base), tiny.settings(), 1, None)
    Checkpoints(store).save(made)
    found = Checkpoints(store).newest()
    assert found is not None
    assert found.best.keys() == made.best.keys() != set()
    assert all(torch.equal(found.best[name], made.best[name]) for name in made.best)

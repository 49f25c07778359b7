"""One process of a torchrun: trains some steps and writes what it has become.

torchrun --nproc_per_node=2 -m tests.unit.training.ddp_worker FOLDER
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from realm.errors import Diverged
from realm.model.checkpoint import Model
from realm.objectives.inverse_cloze import InverseCloze
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.masking import SalientSpans
from realm.text.salient_spans import RuleTagger
from realm.training.distributed import World, join, leave
from realm.training.learner import Learner
from tests import tiny
from tests.unit.objectives.searches import ExactSearch

STEPS = 4


def train(folder: Path, world: World, **given: object) -> tuple[Model, list[float]]:
    """Inverse cloze and masked LM in turn; an odd batch, so that the shares are unequal."""
    model = tiny.make_model(folder / "base")
    corpus = tiny.passages(model.inputs)
    options = {"train_precision": "float32", "trainable_layers": 2, **given}
    learner = Learner(model, tiny.settings(**options), world=world)
    objectives: list[Any] = [
        InverseCloze(model.inputs, batch_size=5, removal_share=0.9, passage_tokens=96),
        MaskedLM(
            model.inputs,
            SalientSpans(RuleTagger()),
            ExactSearch(model, corpus),
            batch_size=3,
            candidates=4,
            passage_tokens=96,
        ),
    ]
    losses = []
    for step in range(STEPS):
        objective = objectives[step % 2]
        batch = objective.batch(iter(corpus[step:]), random.Random(step))
        loss = learner.loss(objective, batch)
        losses.append(loss.value.item())
        learner.learn(loss.value, objective.name)
    return model, losses


def weights(model: Model) -> dict[str, Tensor]:
    parts = {"retriever": model.retriever, "reader": model.reader}
    return {
        f"{part}.{name}": value.detach().clone()
        for part, module in parts.items()
        for name, value in module.named_parameters()
    }


def diverges(folder: Path, world: World) -> bool:
    """Whether a loss that is no number on the last process stops this one too."""
    model = tiny.make_model(folder / "base")
    learner = Learner(model, tiny.settings(), world=world)
    mine = float("nan") if world.rank == world.size - 1 else 1.0
    try:
        learner.learn(model.retriever.log_scale.square() * mine, "test")
    except Diverged:
        return True
    return False


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    world = join(torch.device("cpu"))
    try:
        model, losses = train(folder, world)
        told = world.share({"rank": world.rank})
        facts = {
            "losses": torch.tensor(losses),
            "size": torch.tensor(world.size),
            "told": torch.tensor(told["rank"]),
            "diverged": torch.tensor(diverges(folder, world)),
        }
        save_file({**weights(model), **facts}, folder / f"{world.rank}.safetensors")
    finally:
        leave(world)


if __name__ == "__main__":
    main()

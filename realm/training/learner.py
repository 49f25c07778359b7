"""One training step: the loss of a batch, and what is learnt from it.

Only the top layers learn; below them no graph is built, which is what makes a step affordable
without an accelerator. Dropout is off: the vectors trained are the vectors indexed.

Rows run in a number format, in parts, on several processes. The objective sees the whole batch all
the same: in-batch negatives, means over rows and gates are those of the one big batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from realm.model.checkpoint import Model
from realm.model.encoders import ForwardPass, at_least_float32, run_directly
from realm.model.runtime import best_dtype
from realm.model.transformer import Backbone
from realm.objectives.objective import Loss, Objective
from realm.settings import Settings
from realm.training.distributed import ALONE, World
from realm.training.optimizer import (
    Optimizer,
    adapt,
    freeze,
    groups_of,
    parts_of,
    rate_factor,
    require_finite,
    unfrozen_layers,
)

_recompute = partial(checkpoint, use_reentrant=False)

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class RowPlan:
    """A `realm.model.encoders.ForwardRunner`.

    :param parts: rows are computed in so many parts. Only a part's activations are held at a
        time: each is computed again in the backward pass, and its gradients added to those of the
        parts before (gradient caching: Gao et al. 2021, section 3).
    :param dtype: the backbone's number format; results, and all that follows, are float32.
    :param recompute_layers: hold only the layers' inputs, and compute each again in the backward
        pass (Chen et al. 2016).
    """

    world: World = ALONE
    parts: int = 1
    dtype: torch.dtype = torch.float32
    recompute_layers: bool = False

    def __call__(
        self, forward: ForwardPass, backbone: Backbone, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        work = partial(self._run, forward, backbone)
        if self.parts == 1 and self.world.alone:
            return work(ids, segments, mask)
        computed = [
            self._part(work, ids[rows], segments[rows], mask[rows])
            for rows in self._own(len(ids)).to(ids.device).chunk(self.parts)
        ]
        return self.world.gather(torch.cat(computed))[: len(ids)]

    @contextmanager
    def over(self, model: Model) -> Iterator[None]:
        """Within, this plan runs the rows of the model's towers and reader."""
        users = (model.retriever.query, model.retriever.passage, model.reader)
        for user in users:
            user.runner = self
        try:
            yield
        finally:
            for user in users:
                user.runner = run_directly

    def _own(self, rows: int) -> Tensor:
        """Positions of this process's rows: as many as any other's, some twice if need be."""
        each = -(-rows // self.world.size)
        return torch.arange(self.world.rank * each, (self.world.rank + 1) * each) % rows

    def _part(self, work: ForwardPass, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        if self.parts > 1 and torch.is_grad_enabled():
            again: Tensor = _recompute(work, ids, segments, mask)
            return again
        return work(ids, segments, mask)

    def _run(
        self, forward: ForwardPass, backbone: Backbone, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        half = self.dtype != torch.float32
        with (
            torch.autocast(ids.device.type, dtype=self.dtype, enabled=half),
            recomputing_layers(backbone) if self.recompute_layers else nullcontext(),
        ):
            return at_least_float32(forward(ids, segments, mask))


@contextmanager
def recomputing_layers(backbone: Backbone) -> Iterator[None]:
    """Within, the backbone's layers hold their inputs alone."""
    backbone.recompute = True
    try:
        yield
    finally:
        backbone.recompute = False


class Learner:
    """AdamW over the learning parameters: `loss` of a batch, then `learn` from it.

    :param world: the processes that train together; each must call the same, in the same order.
    """

    def __init__(
        self, model: Model, settings: Settings, step: int = 0, world: World = ALONE
    ) -> None:
        self.step = step
        #: On every rate, beside the schedule's factor: less than 1 after a divergence.
        self.lr_scale = 1.0
        self._model = model
        self._settings = settings
        self._world = world
        self._plan = RowPlan(
            world,
            settings.optimizer.accumulate_steps,
            train_dtype(settings, model.retriever.passage.device),
            settings.optimizer.recompute_activations,
        )
        layers, rank = settings.optimizer.trainable_layers, settings.optimizer.lora_rank
        if rank:
            adapt(model, layers, rank, settings.optimizer.lora_alpha, settings.trainer.seed)
        else:
            freeze(model, layers)
        parts = parts_of(model)
        rates = {
            "retriever": settings.optimizer.retriever_learning_rate,
            "scale": settings.optimizer.scale_learning_rate,
            "word_weight": settings.optimizer.word_weight_learning_rate,
            "reader": settings.optimizer.reader_learning_rate,
            "masked_lm_head": settings.optimizer.masked_lm_head_learning_rate,
        }
        self._groups = groups_of(parts, rates, settings.optimizer.layer_decay)
        self._optimizer = Optimizer(parts, self._groups)

    def loss(self, objective: Objective[BatchT], batch: BatchT) -> Loss:
        """The objective's loss of the whole batch, computed as the settings say: in parts, in
        bfloat16, on several processes. It is the same on each of them."""
        with self._plan.over(self._model):
            return objective.loss(batch, self._model)

    def learn(self, loss: Tensor, objective: str) -> float:
        """One step down the gradient; returns the gradient's norm before clipping.

        :raises Diverged: on every process, if loss or gradient is not finite on any; no parameter
            has changed then.
        """
        step = self.step + 1
        finite = self._world.all_agree(bool(torch.isfinite(loss)))
        require_finite("loss", finite, objective, step)
        self._optimizer.zero_grad()
        loss.backward()
        self._drop_frozen_gradients(step)
        self._world.mean_gradients(self._optimizer.parameters.values())
        norm = self._optimizer.step(self.rate_factor(step), objective, step)
        self.step = step
        return norm

    def rate_factor(self, step: int) -> float:
        """What multiplies every learning rate at a step."""
        optimizer, end = self._settings.optimizer, self._settings.trainer.max_steps
        scheduled = rate_factor(optimizer.schedule, step, optimizer.warmup_steps, end)
        return scheduled * self.lr_scale

    def state(self) -> dict[str, Tensor]:
        """The optimizer's, as `Optimizer.state` has it."""
        return self._optimizer.state()

    def restore(self, state: dict[str, Tensor], step: int) -> None:
        """Continues from a `state`."""
        self._optimizer.restore(state)
        self.step = step

    def weights(self) -> dict[str, Tensor]:
        """Copies of all that learns, by name."""
        return {name: one.detach().clone() for name, one in self._optimizer.parameters.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Restores `weights`, but not the moments; skips names that no longer learn."""
        with torch.no_grad():
            for name, parameter in self._optimizer.parameters.items():
                if name in weights:
                    parameter.copy_(weights[name])

    def follow_leader(self) -> None:
        """Takes over all that learns from the leading process."""
        self._world.copy_leader(self._optimizer.parameters.values())

    def _drop_frozen_gradients(self, step: int) -> None:
        """Of layers that do not learn yet (gradual unfreezing)."""
        most = max(group.depth for group in self._groups)
        learning = unfrozen_layers(step, self._settings.optimizer.unfreeze_every_steps, most)
        for group in self._groups:
            if group.depth > learning:
                for parameter in group.parameters:
                    parameter.grad = None


def train_dtype(settings: Settings, device: torch.device) -> torch.dtype:
    """The backbones' number format in training; parameters and moments stay float32."""
    if settings.optimizer.train_precision == "auto":
        return best_dtype(device)
    return torch.bfloat16 if settings.optimizer.train_precision == "bfloat16" else torch.float32

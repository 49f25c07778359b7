"""The optimizer's side of a step: which parameters learn, how fast, and when to stop.

Only the top layers learn; below them no graph is built, which is what makes a step affordable
without an accelerator. Dropout is off: the vectors trained are the vectors indexed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import structlog
import torch
from torch import Tensor, nn

from realm.errors import Diverged
from realm.model.checkpoint import Model
from realm.model.runtime import best_dtype
from realm.objectives.objective import Loss, Objective
from realm.settings import Settings
from realm.training.distributed import ALONE, World
from realm.training.optimizer import Group, Named, freeze, groups_of, parts_of
from realm.training.rows import RowPlan
from realm.training.schedules import rate_factor, unfrozen_layers

MAX_GRADIENT_NORM = 1.0

BatchT = TypeVar("BatchT")

_log = structlog.get_logger(__name__)


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
        freeze(model, settings.optimizer.trainable_layers)
        self._parts = parts_of(model)
        rates = {
            "retriever": settings.optimizer.retriever_learning_rate,
            "scale": settings.optimizer.scale_learning_rate,
            "reader": settings.optimizer.reader_learning_rate,
            "masked_lm_head": settings.optimizer.masked_lm_head_learning_rate,
        }
        self._groups = groups_of(self._parts, rates, settings.optimizer.layer_decay)
        self._optimizer = torch.optim.AdamW([_for_adam(group) for group in self._groups])

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
        if not self._world.all_agree(bool(torch.isfinite(loss))):
            raise Diverged(_sentence("loss", objective, step), objective=objective, step=step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._keep_frozen(step)
        self._world.mean_gradients(parameter for _, parameter in self._named())
        norm = math.hypot(*(self._clip(part) for part in self._parts.values()))
        if not math.isfinite(norm):
            raise Diverged(_sentence("gradient", objective, step), objective=objective, step=step)
        factor = self.rate_factor(step)
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step = step
        return norm

    def rate_factor(self, step: int) -> float:
        """What multiplies every learning rate at a step."""
        optimizer, end = self._settings.optimizer, self._settings.trainer.max_steps
        scheduled = rate_factor(optimizer.schedule, step, optimizer.warmup_steps, end)
        return scheduled * self.lr_scale

    def state(self) -> dict[str, Tensor]:
        """Copies of AdamW's moments and step counts, `<parameter>/<what>`."""
        return {
            f"{name}/{what}": value.detach().clone()
            for name, parameter in self._named()
            for what, value in self._optimizer.state.get(parameter, {}).items()
        }

    def restore(self, state: dict[str, Tensor], step: int) -> None:
        """Goes on from a `state`; parameters that learn only now begin with fresh moments."""
        parameters = dict(self._named())
        strange = 0
        for key, value in state.items():
            name, _, what = key.rpartition("/")
            parameter = parameters.get(name)
            if parameter is None or (value.dim() and value.shape != parameter.shape):
                strange += 1
                continue
            # AdamW wants its step counts on the CPU.
            placed = value.clone() if not value.dim() else value.to(parameter.device, copy=True)
            self._optimizer.state[parameter][what] = placed
        if strange:
            _log.warning("moments_left_out", count=strange, why="REALM_TRAINABLE_LAYERS differs")
        self.step = step

    def weights(self) -> dict[str, Tensor]:
        """Copies of all that learns, by name."""
        return {name: parameter.detach().clone() for name, parameter in self._named()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Restores `weights`, but not the moments; skips names that no longer learn."""
        with torch.no_grad():
            for name, parameter in self._named():
                if name in weights:
                    parameter.copy_(weights[name])

    def follow_leader(self) -> None:
        """Takes over all that learns from the leading process."""
        self._world.copy_leader(parameter for _, parameter in self._named())

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for named in self._parts.values():
            yield from named.items()

    def _keep_frozen(self, step: int) -> None:
        """Forgets the gradients of layers whose turn has not come (gradual unfreezing)."""
        settings = self._settings
        most = max(group.depth for group in self._groups)
        learning = unfrozen_layers(step, settings.optimizer.unfreeze_every_steps, most)
        for group in self._groups:
            if group.depth > learning:
                for parameter in group.parameters:
                    parameter.grad = None

    def _clip(self, named: Named) -> float:
        used = [parameter for parameter in named.values() if parameter.grad is not None]
        return float(nn.utils.clip_grad_norm_(used, MAX_GRADIENT_NORM)) if used else 0.0


def train_dtype(settings: Settings, device: torch.device) -> torch.dtype:
    """The backbones' number format in training; parameters and moments stay float32."""
    if settings.optimizer.train_precision == "auto":
        return best_dtype(device)
    return torch.bfloat16 if settings.optimizer.train_precision == "bfloat16" else torch.float32


def _for_adam(group: Group) -> dict[str, object]:
    return {
        "params": group.parameters,
        "lr": group.rate,
        "rate": group.rate,
        "weight_decay": group.weight_decay,
    }


def _sentence(what: str, objective: str, step: int) -> str:
    return (
        f"the {what} of {objective} at step {step} is not a finite number: no parameter has changed"
        " at this step; lower REALM_RETRIEVER_LEARNING_RATE or REALM_READER_LEARNING_RATE (or the"
        " --lr of a command)"
    )

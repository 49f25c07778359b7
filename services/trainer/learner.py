"""The optimizer's side of a step: which parameters learn, how fast, and when to stop.

Only the top layers learn; below them no graph is built, which is what makes a step affordable
without an accelerator. Dropout is off: the vectors trained are the vectors indexed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import structlog
import torch
from torch import Tensor, nn

from realm.errors import Diverged
from realm.model.checkpoint import Model
from realm.model.encoders import Encoder
from realm.settings import Settings
from services.trainer.schedule import warm_up

WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
MASKED_LM_HEAD = "reader.predictions."

Named = dict[str, nn.Parameter]

_log = structlog.get_logger(__name__)


class Learner:
    """AdamW over the learning parameters, with a rate each for retriever, reader and LM head."""

    def __init__(self, model: Model, settings: Settings, step: int = 0) -> None:
        self.step = step
        self._warmup_steps = settings.warmup_steps
        freeze_lower_layers(model, settings.trainable_layers)
        self._parts = {
            "retriever": _learning("retriever", model.retriever),
            **_reader_parts(model.reader),
        }
        rates = {
            "retriever": settings.retriever_learning_rate,
            "reader": settings.reader_learning_rate,
            "masked_lm_head": settings.masked_lm_head_learning_rate,
        }
        groups = [
            {"params": chosen, "lr": rates[part], "rate": rates[part], "weight_decay": decay}
            for part, named in self._parts.items()
            for chosen, decay in _by_decay(named)
        ]
        self._optimizer = torch.optim.AdamW(groups)

    def learn(self, loss: Tensor, objective: str) -> float:
        """One step down the gradient; returns the gradient's norm before clipping.

        :raises Diverged: if loss or gradient is not finite; no parameter has changed then.
        """
        step = self.step + 1
        if not torch.isfinite(loss):
            raise Diverged(_sentence("loss", objective, step), objective=objective, step=step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = math.hypot(*(self._clip(part) for part in self._parts.values()))
        if not math.isfinite(norm):
            raise Diverged(_sentence("gradient", objective, step), objective=objective, step=step)
        factor = warm_up(step, self._warmup_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step = step
        return norm

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

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for named in self._parts.values():
            yield from named.items()

    def _clip(self, named: Named) -> float:
        used = [parameter for parameter in named.values() if parameter.grad is not None]
        return float(nn.utils.clip_grad_norm_(used, MAX_GRADIENT_NORM)) if used else 0.0


def freeze_lower_layers(model: Model, layers: int) -> None:
    """Leaves learning: the top `layers` of each backbone, poolers, projections, heads and s."""
    model.retriever.eval()
    model.reader.eval()
    towers: list[Encoder] = [model.retriever.query, model.retriever.passage]
    for backbone in (*(tower.backbone for tower in towers), model.reader.backbone):
        backbone.requires_grad_(False)
        stack: nn.ModuleList = backbone.encoder.layer  # type: ignore[union-attr, assignment]
        for layer in list(stack)[max(0, len(stack) - layers) :]:
            layer.requires_grad_(True)
        pooler = getattr(backbone, "pooler", None)
        if isinstance(pooler, nn.Module):
            pooler.requires_grad_(True)


def _learning(part: str, module: nn.Module) -> Named:
    return {f"{part}.{n}": p for n, p in module.named_parameters() if p.requires_grad}


def _reader_parts(reader: nn.Module) -> dict[str, Named]:
    """The head of the masked LM is fresh where the rest was trained: it has a rate of its own."""
    named = _learning("reader", reader)
    head = {name: p for name, p in named.items() if name.startswith(MASKED_LM_HEAD)}
    return {
        "reader": {name: p for name, p in named.items() if name not in head},
        "masked_lm_head": head,
    }


def _by_decay(named: Named) -> list[tuple[list[nn.Parameter], float]]:
    """Matrices decay; biases, norms and the scale do not."""
    matrices = [p for p in named.values() if p.dim() > 1]
    others = [p for p in named.values() if p.dim() <= 1]
    return [(chosen, decay) for chosen, decay in ((matrices, WEIGHT_DECAY), (others, 0.0))]


def _sentence(what: str, objective: str, step: int) -> str:
    return (
        f"the {what} of {objective} at step {step} is not a finite number, so training has stopped"
        " and the last snapshot stays: lower REALM_RETRIEVER_LEARNING_RATE or"
        " REALM_READER_LEARNING_RATE and start the trainer again"
    )

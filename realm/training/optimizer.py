"""AdamW over the parameters that learn: which they are, at which rates, and one step of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import structlog
import torch
from torch import Tensor, nn

from realm.errors import Diverged
from realm.model.checkpoint import Model

WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
MASKED_LM_HEAD = "reader.predictions."
SCALE = "retriever.log_scale"

Named = dict[str, nn.Parameter]

_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that learn alike.

    `depth` is 0 for heads, poolers, projections and s, 1 for the top layer, and so on down to
    the embeddings.
    """

    parameters: list[nn.Parameter]
    depth: int
    rate: float
    weight_decay: float


class Optimizer:
    """AdamW with a schedule from outside; the gradient of each part is clipped by itself.

    :param parts: the learning parameters, by part and name.
    :param groups: the same, by rate and weight decay.
    """

    def __init__(self, parts: Mapping[str, Named], groups: list[Group]) -> None:
        self.parameters = {name: one for part in parts.values() for name, one in part.items()}
        self._parts = parts
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": group.parameters,
                    "lr": group.rate,
                    "rate": group.rate,
                    "weight_decay": group.weight_decay,
                }
                for group in groups
            ]
        )

    def zero_grad(self) -> None:
        self._adamw.zero_grad(set_to_none=True)

    def step(self, factor: float, objective: str, number: int) -> float:
        """One step down the gradients, at `factor` of the rates; their norm before clipping.

        :raises Diverged: if they are not finite; no parameter has changed then.
        """
        norm = math.hypot(*(_clip(part) for part in self._parts.values()))
        require_finite("gradient", math.isfinite(norm), objective, number)
        for group in self._adamw.param_groups:
            group["lr"] = group["rate"] * factor
        self._adamw.step()
        self.zero_grad()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Copies of AdamW's moments and step counts, `<parameter>/<what>`."""
        return {
            f"{name}/{what}": value.detach().clone()
            for name, parameter in self.parameters.items()
            for what, value in self._adamw.state.get(parameter, {}).items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continues from a `state`; parameters that it lacks start with fresh moments."""
        unknown = 0
        for key, value in state.items():
            name, _, what = key.rpartition("/")
            parameter = self.parameters.get(name)
            if parameter is None or (value.dim() and value.shape != parameter.shape):
                unknown += 1
                continue
            # AdamW wants its step counts on the CPU.
            placed = value.clone() if not value.dim() else value.to(parameter.device, copy=True)
            self._adamw.state[parameter][what] = placed
        if unknown:
            _log.warning("moments_left_out", count=unknown, why="REALM_TRAINABLE_LAYERS differs")


def require_finite(what: str, is_finite: bool, objective: str, step: int) -> None:
    """:raises Diverged: if the loss or gradient of a step is not finite."""
    if not is_finite:
        raise Diverged(
            f"the {what} of {objective} at step {step} is not a finite number: no parameter has"
            " changed at this step; lower REALM_RETRIEVER_LEARNING_RATE or"
            " REALM_READER_LEARNING_RATE (or the --lr of a command)",
            objective=objective,
            step=step,
        )


def freeze(model: Model, layers: int) -> None:
    """Leaves learning: the top `layers` of each backbone, poolers, projections, heads and s.

    More `layers` than there are make the embeddings learn too.
    """
    model.retriever.eval()
    model.reader.eval()
    for backbone in _backbones(model):
        stack = _stack(backbone)
        backbone.requires_grad_(layers > len(stack))
        for layer in list(stack)[max(0, len(stack) - layers) :]:
            layer.requires_grad_(True)
        pooler = getattr(backbone, "pooler", None)
        if isinstance(pooler, nn.Module):
            pooler.requires_grad_(True)


def parts_of(model: Model) -> dict[str, Named]:
    """What learns, by part. Each has rates of its own, and its gradient is clipped by itself.

    The head of the masked LM is fresh where the rest was trained: it is a part of its own. So is
    the scale s, one number, which a rate made for matrices would hardly move.
    """
    retriever, reader = _learning("retriever", model.retriever), _learning("reader", model.reader)
    head = {name: p for name, p in reader.items() if name.startswith(MASKED_LM_HEAD)}
    scale = {name: p for name, p in retriever.items() if name == SCALE}
    return {
        "retriever": {name: p for name, p in retriever.items() if name not in scale},
        "scale": scale,
        "reader": {name: p for name, p in reader.items() if name not in head},
        "masked_lm_head": head,
    }


def groups_of(
    parts: Mapping[str, Named], rates: Mapping[str, float], layer_decay: float
) -> list[Group]:
    """Discriminative rates (Howard and Ruder 2018, section 3.1): η(l−1) = η(l) · `layer_decay`.

    Matrices decay; biases, norms and the scale do not.

    :param rates: of each part's heads and top layer.
    """
    groups: dict[tuple[str, int, bool], list[nn.Parameter]] = {}
    for part, named in parts.items():
        top = max((layer for name in named if (layer := _layer(name)) is not None), default=-1)
        for name, parameter in named.items():
            key = (part, _depth(name, top), parameter.dim() > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        Group(
            parameters,
            depth,
            rates[part] * layer_decay ** max(0, depth - 1),
            WEIGHT_DECAY if is_matrix else 0.0,
        )
        for (part, depth, is_matrix), parameters in groups.items()
    ]


def _clip(part: Named) -> float:
    used = [parameter for parameter in part.values() if parameter.grad is not None]
    return float(nn.utils.clip_grad_norm_(used, MAX_GRADIENT_NORM)) if used else 0.0


def _depth(name: str, top: int) -> int:
    if ".embeddings." in name:
        return top + 2
    layer = _layer(name)
    return 0 if layer is None else top - layer + 1


def _layer(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def _learning(part: str, module: nn.Module) -> Named:
    return {f"{part}.{n}": p for n, p in module.named_parameters() if p.requires_grad}


def _backbones(model: Model) -> Iterator[nn.Module]:
    yield model.retriever.query.backbone
    yield model.retriever.passage.backbone
    yield model.reader.backbone


def _stack(backbone: nn.Module) -> nn.ModuleList:
    return cast(nn.ModuleList, backbone.encoder.layer)  # type: ignore[union-attr]

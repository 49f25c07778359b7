"""AdamW over the parameters that learn: which they are, at which rates and on which course, and
one step of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import structlog
import torch
from torch import Tensor, nn

from realm.errors import Diverged
from realm.model.adapters import adapter_weights, add_adapters
from realm.model.checkpoint import Model
from realm.model.transformer import Backbone

WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
MASKED_LM_HEAD = "reader.predictions."
SCALE, WORD_WEIGHT = "retriever.log_scale", "retriever.word_weight"

Named = dict[str, nn.Parameter]

_LAYER = re.compile(r"\.layers?\.(\d+)\.")

_log = structlog.get_logger(__name__)
ScheduleName = Literal["constant", "linear", "cosine", "slanted"]

#: Slanted triangular rates (Howard and Ruder 2018, equation 3): the paper's own constants.
CUT_FRACTION = 0.1
RATIO = 32.0


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that learn alike.

    `depth` is 0 for heads, poolers, projections, s and w, 1 for the top layer, and so on down to
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
    """Leaves learning: the top `layers` of each backbone, poolers, projections, heads, s and w.

    More `layers` than there are make the embeddings learn too.
    """
    model.retriever.eval()
    model.reader.eval()
    for backbone in _backbones(model):
        stack = backbone.layers
        backbone.requires_grad_(layers > len(stack))
        for layer in list(stack)[max(0, len(stack) - layers) :]:
            layer.requires_grad_(True)
        if backbone.pooler is not None:
            backbone.pooler.requires_grad_(True)


def adapt(model: Model, layers: int, rank: int, alpha: float, seed: int) -> None:
    """Leaves learning: LoRA adapters of the top `layers` of each backbone, and what `freeze` leaves
    beside its layers. A model that has adapters keeps them."""
    freeze(model, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # every process of a training begins with the same
        for backbone in _backbones(model):
            if not adapter_weights(backbone):
                add_adapters(backbone, layers, rank, alpha)
    for part in (model.retriever, model.reader):
        for parameter in adapter_weights(part).values():
            parameter.requires_grad_(True)


def parts_of(model: Model) -> dict[str, Named]:
    """What learns, by part. Each has rates of its own, and its gradient is clipped by itself.

    The head of the masked LM is fresh where the rest was trained: it is a part of its own. So are
    s and w of f(x, z), one number each, which a rate made for matrices would hardly move.
    """
    retriever, reader = _learning("retriever", model.retriever), _learning("reader", model.reader)
    head = {name: p for name, p in reader.items() if name.startswith(MASKED_LM_HEAD)}
    return {
        "retriever": {n: p for n, p in retriever.items() if n not in (SCALE, WORD_WEIGHT)},
        "scale": {name: p for name, p in retriever.items() if name == SCALE},
        "word_weight": {name: p for name, p in retriever.items() if name == WORD_WEIGHT},
        "reader": {name: p for name, p in reader.items() if name not in head},
        "masked_lm_head": head,
    }


def groups_of(
    parts: Mapping[str, Named], rates: Mapping[str, float], layer_decay: float
) -> list[Group]:
    """Discriminative rates (Howard and Ruder 2018, section 3.1): η(l−1) = η(l) · `layer_decay`.

    Matrices decay; biases, norms, s and w do not.

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


def _backbones(model: Model) -> Iterator[Backbone]:
    yield model.retriever.query.backbone
    yield model.retriever.passage.backbone
    yield model.reader.backbone


def warm_up(step: int, warmup_steps: int) -> float:
    """The factor on the learning rate at a step (from 1): linear, then 1."""
    return min(1.0, step / (warmup_steps + 1))


def decay(name: ScheduleName, step: int, warmup_steps: int, total: int) -> float:
    """The factor after the warm-up: from 1 at its end to 0 just after the last step.

    :param total: steps of the whole training; beyond them the factor stays at its last value.
    """
    if name == "constant" or total <= warmup_steps:
        return 1.0
    done = min(max(0, step - 1 - warmup_steps) / (total - warmup_steps), 1 - 1 / total)
    return 1 - done if name == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def slanted_triangular(
    step: int, total: int, cut_fraction: float = CUT_FRACTION, ratio: float = RATIO
) -> float:
    """A short steep rise, a long slow fall to 1/`ratio` (Howard and Ruder 2018, equation 3)."""
    cut = max(1, math.floor(total * cut_fraction))
    t = min(step, total)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_fraction - 1))
    return (1 + max(0.0, p) * (ratio - 1)) / ratio


def rate_factor(name: ScheduleName, step: int, warmup_steps: int, total: int) -> float:
    """The factor on every learning rate at a step (from 1)."""
    if name == "slanted":
        return slanted_triangular(step, total)
    return warm_up(step, warmup_steps) * decay(name, step, warmup_steps, total)


def triangular_share(done: float, warm_up: float, least: float) -> float:
    """The factor when `done` of 1 is done, by whatever clock: linear up, then linear to 0.

    :param warm_up: the share of it that rises.
    :param least: the factor's floor, so that the first step moves too.
    """
    rising = done / warm_up if warm_up > 0 else 1.0
    falling = (1 - done) / (1 - warm_up) if warm_up < 1 else 1.0
    return max(least, min(rising, falling, 1.0))


def unfrozen_layers(step: int, every_steps: int, most: int) -> int:
    """Gradual unfreezing (Howard and Ruder 2018, section 3.3): top layers that learn at a step.

    The first `every_steps` steps teach the top layer and the heads, and each as many after that
    one layer more; 0 for `every_steps` teaches all from the start.
    """
    return min(most, 1 + (step - 1) // every_steps) if every_steps else most


def auxiliary_weight(step: int, start: float, half_life: int) -> float:
    """γ of an auxiliary loss at a step: it halves every `half_life` steps.

    Chronopoulou et al. 2019 (SiATL), section 3.2: an exponentially decaying γ lets the language
    model's loss count at first and the task's in the end.
    """
    return start * math.exp2((1 - step) / half_life)

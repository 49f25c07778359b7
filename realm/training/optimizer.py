"""Which parameters learn, and in which groups: by part, by depth in the stack, by weight decay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from torch import nn

from realm.model.checkpoint import Model

WEIGHT_DECAY = 0.01
MASKED_LM_HEAD = "reader.predictions."
SCALE = "retriever.log_scale"

Named = dict[str, nn.Parameter]

_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")


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

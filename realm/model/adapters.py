"""LoRA (Hu et al. 2021) by peft: W·x + (alpha / rank)·B·A·x, where W stays and A and B learn.

Adapters are in a model only while it trains. What is published or written is merged: an ordinary
model. peft is imported only where there are some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from realm.errors import Corrupt, DependencyUnavailable
from realm.model.transformer import Backbone
from realm.model.weights import Weights

#: peft's name of the one adapter that a linear map may have.
ADAPTER = "default"


def add_adapters(backbone: Backbone, layers: int, rank: int, alpha: float) -> None:
    """Adds one to each linear map of the top layers. B is 0, so that no vector changes yet.

    :raises DependencyUnavailable: if peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise DependencyUnavailable("adapters need peft: install realm[adapters]") from error

    stack = list(backbone.layers)
    maps = {id(one) for layer in stack[max(0, len(stack) - layers) :] for one in _maps(layer)}
    names = [name for name, module in backbone.named_modules() if id(module) in maps]
    if names:
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)
        inject_adapter_in_model(config, backbone)


def adapter_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """A and B of every adapter, by name; none in a model without."""
    return {name: each for name, each in module.named_parameters() if ".lora_" in name}


def load_adapters(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """:raises Corrupt: if these are other adapters' weights."""
    own = adapter_weights(module)
    if {name: each.shape for name, each in own.items()} != {n: w.shape for n, w in weights.items()}:
        raise Corrupt("the adapters' weights do not fit the model's adapters")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def remove_adapters(module: nn.Module, *, merge: bool) -> None:
    """Leaves plain linear maps, in place.

    :param merge: what the adapters have learnt goes into new weights of the maps; else it is lost.
    """
    for parent, name, adapted in list(_adapted(module)):
        plain = adapted.get_base_layer()
        if merge:
            learnt = plain.weight.detach() + adapted.get_delta_weight(ADAPTER).detach()
            plain.weight = nn.Parameter(learnt, requires_grad=False)
        setattr(parent, name, plain)


def copied_weights(module: nn.Module) -> Weights:
    """`adapter_weights` that training no longer changes."""
    return {name: each.detach().clone() for name, each in adapter_weights(module).items()}


def _maps(module: nn.Module) -> Iterator[nn.Module]:
    return (each for each in module.modules() if isinstance(each, nn.Linear))


def _adapted(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Linear maps with an adapter, each with the module that it is a part of and its name there."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if hasattr(child, "get_base_layer"):
                yield parent, name, child

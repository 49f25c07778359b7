"""Linear maps of weights that learn no more, by the fastest way that torch has for a device.

Weights are cast and laid out once; what follows a product is part of it where that is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realm.model.bert import Activation

#: How oneDNN names the activations that are faster as part of a product.
ONEDNN_ACTIVATIONS: dict[Activation, str] = {F.gelu: "gelu", F.relu: "relu"}


class Product(Protocol):
    """A linear map's x·Wᵀ + b, and what follows it."""

    def __call__(self, x: Tensor) -> Tensor:
        """activation(x·Wᵀ + b): [tokens, in] → [tokens, out]"""
        ...

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """x·Wᵀ + b + residual: `x` [tokens, in], `residual` [tokens, out] → [tokens, out]"""
        ...


class PlainProduct:
    """What follows the product passes over its result once more."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: Activation | None = None) -> None:
        """:param weight: [out, in]; `bias` [out]."""
        self._weight = weight
        self._bias = bias
        self._activation = activation

    def __call__(self, x: Tensor) -> Tensor:
        found = F.linear(x, self._weight, self._bias)  # [tokens, out]
        return found if self._activation is None else self._activation(found)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias).add_(residual)


class CublasProduct(PlainProduct):
    """GELU as part of the product, by its tanh form: bfloat16 rounds coarser than the two differ.

    On an H100 GELU by itself takes as long as two thirds of the product before it.
    """

    def __call__(self, x: Tensor) -> Tensor:
        if self._activation is not F.gelu:
            return super().__call__(x)
        # Private, yet the only name that torch has for cuBLASLt's epilogue.
        return torch._addmm_activation(self._bias, x, self._weight.t(), use_gelu=True)


class OneDnnProduct:
    """By the operators that torch's own compiler uses: the result is passed over once."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: Activation | None = None) -> None:
        """:param weight: [out, in]; `bias` [out]."""
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias
        self._fused = "none" if activation is None else ONEDNN_ACTIVATIONS.get(activation, "none")
        self._activation = activation if self._fused == "none" else None

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, self._fused, [], "none"
        )
        return found if self._activation is None else self._activation(found)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, residual, self._weight, self._bias, "add"
        )
        return found


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch's oneDNN multiplies this number format on this processor."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def make_product(
    maps: Sequence[nn.Linear], dtype: torch.dtype, activation: Activation | None = None
) -> Product:
    """Of linear maps of one input, their results side by side."""
    weight = torch.cat([one.weight.detach() for one in maps]).to(dtype)  # [out, in]
    bias = torch.cat([one.bias.detach() for one in maps]).to(dtype)  # [out]
    return _kind(weight.device, dtype)(weight, bias, activation)


def _kind(device: torch.device, dtype: torch.dtype) -> type[PlainProduct | OneDnnProduct]:
    if device.type == "cuda" and dtype.itemsize == 2:
        return CublasProduct
    if device.type == "cpu" and has_onednn(dtype):
        return OneDnnProduct
    return PlainProduct

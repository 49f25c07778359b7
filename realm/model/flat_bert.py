"""BERT for vectors alone: tokens of many inputs in one matrix, weights in one number format.

What `realm.model.bert` computes, without gradients and dropout. The weights are cast and laid out
once. Where torch has oneDNN, activations and residual sums are part of the matrix products; where
it has not, they follow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realm.model.adapters import adapter_weights
from realm.model.bert import Activation, Bert, Embeddings, Layer, ResidualOutput, SelfAttention
from realm.model.encoders import rounded_up

#: Attention over 170 tokens takes longer than over 176: the processor's units for matrices want
#: aligned widths.
FLAT_PAD_MULTIPLE = 16

#: oneDNN compiles a product anew for each number of rows, which takes longer than the product:
#: zeros are added, up to the next of at most `STEPS` numbers for each power of two.
FINEST_STEP, STEPS = 16, 16

#: Ids, segments and mask (True for tokens) of some inputs, [rows, width] each.
Block = tuple[Tensor, Tensor, Tensor]

#: How oneDNN names the activations that are faster as part of a product.
FUSED_ACTIVATIONS: dict[Activation, str] = {F.gelu: "gelu", F.relu: "relu"}


def even_rows(tokens: int) -> int:
    """How many rows so many tokens are computed as: at most an eighth more, or 15 more."""
    step = FINEST_STEP
    while step * STEPS < tokens:
        step *= 2
    return rounded_up(tokens, step)


class Product(Protocol):
    """A linear map's x·Wᵀ + b, and what follows it."""

    def __call__(self, x: Tensor) -> Tensor:
        """activation(x·Wᵀ + b): [tokens, in] → [tokens, out]"""
        ...

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """x·Wᵀ + b + residual: `x` [tokens, in], `residual` [tokens, out] → [tokens, out]"""
        ...


@dataclass(frozen=True, slots=True)
class PlainProduct:
    """`weight` [out, in], `bias` [out]."""

    weight: Tensor
    bias: Tensor
    activation: Activation | None = None

    def __call__(self, x: Tensor) -> Tensor:
        found = F.linear(x, self.weight, self.bias)  # [tokens, out]
        return found if self.activation is None else self.activation(found)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + residual


class OneDnnProduct:
    """By the operators that torch's own compiler uses: the result is passed over once."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: Activation | None = None) -> None:
        """:param weight: [out, in]; `bias` [out]."""
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias
        self._fused = "none" if activation is None else FUSED_ACTIVATIONS.get(activation, "none")
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
    make = OneDnnProduct if has_onednn(dtype) else PlainProduct
    return make(weight, bias, activation)


class FlatBert:
    """The states of many inputs in one pass."""

    def __init__(self, bert: Bert, dtype: torch.dtype) -> None:
        """Shares those weights with `bert` that are not cast."""
        self._embeddings = FlatEmbeddings(bert.embeddings, dtype)
        self._layers = [FlatLayer(layer, dtype) for layer in bert.layers]

    def __call__(self, blocks: Sequence[Block]) -> list[Tensor]:
        """States [rows, width, hidden] of each block."""
        with torch.autocast("cpu", enabled=False):
            return self._states(blocks)

    def _states(self, blocks: Sequence[Block]) -> list[Tensor]:
        embedded = [self._embeddings(ids, segments) for ids, segments, _ in blocks]
        shapes = [Shape.of(mask, embedded[0].dtype) for _, _, mask in blocks]
        hidden = _with_rows(embedded, even_rows(sum(one.tokens for one in shapes)))
        for layer in self._layers:
            hidden = layer(hidden, shapes)  # [rows, hidden]
        parts = _of_shapes(hidden, shapes)
        return [part.view(one.rows, one.width, -1) for part, one in zip(parts, shapes, strict=True)]


def _with_rows(parts: Sequence[Tensor], rows: int) -> Tensor:
    """[tokens, hidden] each, and zeros below: [rows, hidden]"""
    added = rows - sum(map(len, parts))
    if not added and len(parts) == 1:
        return parts[0]
    return torch.cat([*parts, parts[0].new_zeros(added, parts[0].shape[1])])


def _of_shapes(x: Tensor, shapes: Sequence[Shape]) -> Sequence[Tensor]:
    """[rows, …] → [tokens, …] of each block, without what was added below"""
    tokens = [one.tokens for one in shapes]
    return torch.split(x[: sum(tokens)], tokens)


def can_be_flat(backbone: nn.Module) -> TypeGuard[Bert]:
    """On a processor; adapters that are still in a model are computed by their own library."""
    if not isinstance(backbone, Bert) or adapter_weights(backbone):
        return False
    return next(backbone.parameters()).device.type == "cpu"


@dataclass(frozen=True, slots=True)
class FlatRunner:
    """A `realm.model.encoders.ForwardRunner` for a backbone that learns no more."""

    bert: FlatBert

    def __call__(
        self, forward: object, backbone: object, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        return self.bert([(ids, segments, mask)])[0]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a block. `attended` [rows, 1, 1, width] is added to scores; None: nothing is padding."""

    rows: int
    width: int
    attended: Tensor | None

    @classmethod
    def of(cls, mask: Tensor, dtype: torch.dtype) -> Shape:
        """`mask` [rows, width]"""
        rows, width = mask.shape
        if bool(mask.all()):
            return cls(rows, width, None)
        added = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -torch.inf)
        return cls(rows, width, added[:, None, None, :])

    @property
    def tokens(self) -> int:
        return self.rows * self.width


class FlatEmbeddings:
    """Word + segment + position, normalised."""

    def __init__(self, embeddings: Embeddings, dtype: torch.dtype) -> None:
        self._words = embeddings.word_embeddings.weight.detach().to(dtype)  # [vocabulary, hidden]
        wide = torch.promote_types(dtype, torch.float32)
        segments = embeddings.token_type_embeddings.weight.detach().to(wide)  # [types, hidden]
        positions = embeddings.position_embeddings.weight.detach().to(wide)  # [longest, hidden]
        self._longest = len(positions)
        # One sum less for each token.
        places = segments.unsqueeze(1) + positions  # [types, longest, hidden]
        self._places = places.flatten(0, 1)  # [types · longest, hidden]
        self._norm = Norm(embeddings.LayerNorm, dtype)

    def __call__(self, ids: Tensor, segments: Tensor) -> Tensor:
        """`ids`, `segments` [rows, width] → [rows · width, hidden]"""
        # Padding may reach beyond the last position, a token never does.
        positions = torch.arange(ids.shape[1]).clamp(max=self._longest - 1)  # [width]
        summed = F.embedding(segments * self._longest + positions, self._places)
        summed += F.embedding(ids, self._words)
        return self._norm(summed).to(self._words.dtype).flatten(0, 1)


class FlatLayer:
    """Attention, then two linear maps, over the tokens of all blocks."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        assert isinstance(layer, Layer)
        attention, mixed = layer.attention["self"], layer.attention["output"]
        inner = layer.intermediate["dense"]
        assert isinstance(attention, SelfAttention)
        assert isinstance(mixed, ResidualOutput)
        assert isinstance(inner, nn.Linear)
        self._heads = attention.heads
        self._projected = make_product([attention.query, attention.key, attention.value], dtype)
        self._mixed = FlatOutput(mixed, dtype)
        self._inner = make_product([inner], dtype, layer.activation)
        self._output = FlatOutput(layer.output, dtype)

    def __call__(self, hidden: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """[rows, hidden] → the same"""
        parts = _of_shapes(self._projected(hidden), shapes)
        mixed = [self._attention(part, one) for part, one in zip(parts, shapes, strict=True)]
        hidden = self._mixed(_with_rows(mixed, len(hidden)), hidden)
        return self._output(self._inner(hidden), hidden)

    def _attention(self, projected: Tensor, shape: Shape) -> Tensor:
        """[rows · width, 3 · hidden] → [rows · width, hidden]"""
        parts = projected.view(shape.rows, shape.width, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [rows, heads, width, size] each
        mixed = F.scaled_dot_product_attention(query, key, value, shape.attended)
        return mixed.transpose(1, 2).reshape(shape.tokens, -1)


class FlatOutput:
    """LayerNorm(x + Linear(f(x))): the end of each sublayer."""

    def __init__(self, output: ResidualOutput, dtype: torch.dtype) -> None:
        self._product = make_product([output.dense], dtype)
        self._norm = Norm(output.LayerNorm, dtype)

    def __call__(self, inner: Tensor, residual: Tensor) -> Tensor:
        """`inner` [tokens, size], `residual` [tokens, hidden] → [tokens, hidden]"""
        return self._norm(self._product.plus(inner, residual))


class Norm:
    """LayerNorm of half precision by weights in float32, which are too few to save on."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        wide = torch.promote_types(dtype, torch.float32)
        self._weight = norm.weight.detach().to(wide)  # [hidden]
        self._bias = norm.bias.detach().to(wide)  # [hidden]
        self._epsilon = norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        """[…, hidden] → the same"""
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)

"""BERT for vectors alone: tokens of many inputs in one matrix, weights in one number format.

What `realm.model.bert` computes, without gradients and dropout. How the inputs lie in the matrix
is the caller's (`realm.model.blocks`, `realm.model.packed`): only attention has to know.
"""

from __future__ import annotations

from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realm.model.adapters import adapter_weights
from realm.model.bert import Bert, Embeddings, Layer, ResidualOutput, SelfAttention
from realm.model.products import make_product


class Attention(Protocol):
    """softmax(QKᵀ / √d)·V within each input of a flat matrix."""

    def __call__(self, projected: Tensor) -> Tensor:
        """`projected` [rows, 3, heads, size]: Q, K and V → [rows, heads, size]"""
        ...


class FlatBert:
    """The states of many inputs in one pass."""

    def __init__(self, bert: Bert, dtype: torch.dtype) -> None:
        """Shares those weights with `bert` that are not cast."""
        self.dtype = dtype
        self._embeddings = FlatEmbeddings(bert.embeddings, dtype)
        self.longest = self._embeddings.longest
        self._layers = [FlatLayer(layer, dtype) for layer in bert.layers]

    def __call__(
        self, ids: Tensor, segments: Tensor, positions: Tensor, attend: Attention
    ) -> Tensor:
        """`ids`, `segments`, `positions` [rows] → states [rows, hidden]"""
        with torch.autocast(ids.device.type, enabled=False):
            hidden = self._embeddings(ids, segments, positions)
            for layer in self._layers:
                hidden = layer(hidden, attend)
            return hidden


def is_plain_bert(backbone: nn.Module) -> TypeGuard[Bert]:
    """Adapters that are still in a model are computed by their own library."""
    return isinstance(backbone, Bert) and not adapter_weights(backbone)


class FlatEmbeddings:
    """Word + segment + position, normalised."""

    def __init__(self, embeddings: Embeddings, dtype: torch.dtype) -> None:
        self._words = embeddings.word_embeddings.weight.detach().to(dtype)  # [vocabulary, hidden]
        wide = _wide(dtype)
        segments = embeddings.token_type_embeddings.weight.detach().to(wide)  # [types, hidden]
        positions = embeddings.position_embeddings.weight.detach().to(wide)  # [longest, hidden]
        self.longest = len(positions)
        # One sum less for each token.
        places = segments.unsqueeze(1) + positions  # [types, longest, hidden]
        self._places = places.flatten(0, 1)  # [types · longest, hidden]
        self._norm = Norm(embeddings.LayerNorm, wide)

    def __call__(self, ids: Tensor, segments: Tensor, positions: Tensor) -> Tensor:
        """`ids`, `segments`, `positions` [rows] → [rows, hidden]"""
        summed = F.embedding(segments * self.longest + positions, self._places)
        summed += F.embedding(ids, self._words)
        return self._norm(summed).to(self._words.dtype)


class FlatLayer:
    """Attention, then two linear maps, over the tokens of all inputs."""

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

    def __call__(self, hidden: Tensor, attend: Attention) -> Tensor:
        """[rows, hidden] → the same"""
        projected = self._projected(hidden).view(len(hidden), 3, self._heads, -1)
        hidden = self._mixed(attend(projected).flatten(1), hidden)
        return self._output(self._inner(hidden), hidden)


class FlatOutput:
    """LayerNorm(x + Linear(f(x))): the end of each sublayer."""

    def __init__(self, output: ResidualOutput, dtype: torch.dtype) -> None:
        self._product = make_product([output.dense], dtype)
        # CUDA's norm wants its weights in the format of what it norms.
        on_cuda = output.dense.weight.device.type == "cuda"
        self._norm = Norm(output.LayerNorm, dtype if on_cuda else _wide(dtype))

    def __call__(self, inner: Tensor, residual: Tensor) -> Tensor:
        """`inner` [tokens, size], `residual` [tokens, hidden] → [tokens, hidden]"""
        return self._norm(self._product.plus(inner, residual))


class Norm:
    """LayerNorm."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        """:param dtype: of the weights, which are too few to save on."""
        self._weight = norm.weight.detach().to(dtype)  # [hidden]
        self._bias = norm.bias.detach().to(dtype)  # [hidden]
        self._epsilon = norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        """[…, hidden] → the same"""
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)

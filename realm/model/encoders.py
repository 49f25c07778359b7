"""Embed(·) of queries and passages: REALM, section 3.2, with one backbone, pooling and projection.

An `Encoder` learns; `realm.model.frozen_encoder` makes vectors by one that learns no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realm.model.bert import ACTIVATIONS
from realm.model.config import ModelConfig, Pooling, Projection
from realm.model.inputs import Encoded
from realm.model.transformer import Backbone, make_backbone

PROJECTION_NORM_EPS = 1e-12
PROJECTION_DROPOUT = 0.1
CPU_TOKEN_BUDGET = 2048  # larger batches fall out of the cache
CUDA_TOKEN_BUDGET = 65536


ForwardPass = Callable[[Tensor, Tensor, Tensor], Tensor]


class ForwardRunner(Protocol):
    """Gives what `forward` gives for `ids`, `segments`, `mask`, each [rows, tokens].

    Training puts another runner in an encoder's or reader's `runner`, which shares the rows out
    (over parts, over processes) while every objective still sees the whole batch. `backbone` is
    the module whose layers `forward` goes through.
    """

    def __call__(
        self, forward: ForwardPass, backbone: Backbone, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor: ...


def run_directly(
    forward: ForwardPass, backbone: Backbone, ids: Tensor, segments: Tensor, mask: Tensor
) -> Tensor:
    """The whole batch in one forward pass."""
    return forward(ids, segments, mask)


class EmbeddingProjection(nn.Module):
    """Linear(hidden → size), LayerNorm and activation if asked for, dropout in training only."""

    def __init__(self, hidden_size: int, projection: Projection) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, projection.size)
        self.LayerNorm = (
            nn.LayerNorm(projection.size, eps=PROJECTION_NORM_EPS)
            if projection.layer_norm
            else None
        )
        self.activation = ACTIVATIONS[projection.activation] if projection.activation else None
        self.dropout = nn.Dropout(PROJECTION_DROPOUT)
        if projection.identity_start:
            nn.init.eye_(self.dense.weight)
            nn.init.zeros_(self.dense.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        projected = self.dense(pooled)
        if self.LayerNorm is not None:
            projected = self.LayerNorm(projected)
        if self.activation is not None:
            projected = self.activation(projected)
        dropped: Tensor = self.dropout(projected)
        return dropped


class Encoder(nn.Module):
    """Embed(·) for one tower: backbone → pooling → projection → cut to size → L2 norm.

    All after pooling is optional.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pooling: Pooling = config.pooling
        self.normalize = config.normalize
        self.embedding_size = config.embedding_size
        self.runner: ForwardRunner = run_directly
        self.backbone = make_backbone(config.base, pooler=config.pooling == "pooler")
        self.projection: EmbeddingProjection | None = None
        if config.projection is not None:
            self.projection = EmbeddingProjection(config.base.hidden_size, config.projection)

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """`ids`, `segments`, `mask` [batch, tokens] → vectors [batch, embedding_size]."""
        return self.runner(self._vectors, self.backbone, ids, segments, mask)

    def _vectors(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.backbone(ids, segments, mask), mask)

    @property
    def head(self) -> Head:
        return Head(
            self.pooling,
            self.backbone.pooler,
            self.projection,
            self.embedding_size,
            self.normalize,
        )

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


@dataclass(frozen=True, slots=True)
class Head:
    """What makes a vector of a backbone's states: pooling → projection → cut to size → L2 norm.

    All after pooling is optional.
    """

    pooling: Pooling
    pooler: nn.Module | None
    projection: EmbeddingProjection | None
    size: int
    normalize: bool

    def __call__(self, states: Tensor, mask: Tensor) -> Tensor:
        """`states` [batch, tokens, hidden], `mask` [batch, tokens] → vectors [batch, size]."""
        # Under autocast only the backbone runs in half precision: scores are differences of
        # sums over all dimensions, and rounding here would reorder near neighbours.
        with torch.autocast(states.device.type, enabled=False):
            vectors = self._pool(at_least_float32(states), mask)  # [batch, hidden]
            if self.projection is not None:
                vectors = self.projection(vectors)  # [batch, full_size]
            vectors = vectors[:, : self.size]
            return F.normalize(vectors, dim=-1) if self.normalize else vectors

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [batch, tokens, hidden] → [batch, hidden]."""
        if self.pooler is not None:
            pooled: Tensor = self.pooler(states)
            return pooled
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            last = mask.sum(dim=1, keepdim=True).long() - 1  # [batch, 1]
            return states.take_along_dim(last.unsqueeze(2), dim=1).squeeze(1)
        weights = mask.to(states.dtype)  # [batch, tokens]
        summed = torch.bmm(weights.unsqueeze(1), states).squeeze(1)  # [batch, hidden]
        return summed / weights.sum(dim=1, keepdim=True).clamp(min=1.0)


def collate(
    inputs: Sequence[Encoded], pad_id: int, *, multiple: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Pads to the longest input, rounded up to `multiple`.

    Returns ids and segments (int64) and mask (bool, True for tokens), each [batch, tokens].
    """
    longest = max(map(len, inputs))
    width = rounded_up(longest, multiple)
    ids = np.full((len(inputs), width), pad_id, dtype=np.int64)
    segments = np.zeros((len(inputs), width), dtype=np.int64)
    mask = np.zeros((len(inputs), width), dtype=np.bool_)
    for row, encoded in enumerate(inputs):
        ids[row, : len(encoded)] = encoded.ids
        segments[row, : len(encoded)] = encoded.segments
        mask[row, : len(encoded)] = True
    return torch.from_numpy(ids), torch.from_numpy(segments), torch.from_numpy(mask)


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Positions of `lengths` in batches whose padded size is within `token_budget` tokens.

    Longest first, so that memory runs out at once or never; an input longer than the budget is
    a batch of its own.
    """
    batches: list[list[int]] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and (len(batches[-1]) + 1) * width <= token_budget:
            batches[-1].append(position)
        else:
            batches.append([position])
            width = lengths[position]
    return batches


def rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision widened; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

"""The retriever p(z|x): Embed(·) of queries and passages, and the weights of relevance.

REALM, section 3.2: Embed(x)ᵀ Embed(z), with one backbone, one pooling and a projection.
`encode` makes vectors of unpadded inputs in batches of like length: padding is the cost that a
text encoder pays for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from realm.errors import InvalidInput
from realm.model.bert import ACTIVATIONS
from realm.model.config import ModelConfig, Pooling, Projection
from realm.model.inputs import Encoded
from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance, relevance
from realm.model.transformer import Backbone, make_backbone

PROJECTION_NORM_EPS = 1e-12
PROJECTION_DROPOUT = 0.1
CPU_TOKEN_BUDGET = 2048  # larger batches fall out of the cache
CUDA_TOKEN_BUDGET = 65536
CUDA_PAD_MULTIPLE = 8  # tensor cores want aligned lengths


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
        states = self.backbone(ids, segments, mask)  # [batch, tokens, hidden]
        # Under autocast only the backbone runs in half precision: scores are differences of
        # sums over all dimensions, and rounding here would reorder near neighbours.
        with torch.autocast(ids.device.type, enabled=False):
            vectors = self._pool(states, mask)  # [batch, hidden]
            if self.projection is not None:
                vectors = self.projection(vectors)  # [batch, full_size]
            vectors = vectors[:, : self.embedding_size]
            return F.normalize(vectors, dim=-1) if self.normalize else vectors

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [batch, tokens, hidden] → [batch, hidden]."""
        hidden = at_least_float32(states)
        if self.backbone.pooler is not None:
            pooled: Tensor = self.backbone.pooler(hidden)
            return pooled
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            last = mask.sum(dim=1, keepdim=True).long() - 1  # [batch, 1]
            return hidden.take_along_dim(last.unsqueeze(2), dim=1).squeeze(1)
        weights = mask.to(hidden.dtype)  # [batch, tokens]
        summed = torch.bmm(weights.unsqueeze(1), hidden).squeeze(1)  # [batch, hidden]
        return summed / weights.sum(dim=1, keepdim=True).clamp(min=1.0)


class Retriever(nn.Module):
    """Two towers (or one for both), and the learned s, kept as its logarithm, and w of f(x, z)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.query = Encoder(config)
        self.passage = self.query if config.shared_towers else Encoder(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale_init)))
        self.word_weight = nn.Parameter(torch.tensor(FIRST_WORD_WEIGHT))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def relevance(self) -> Relevance:
        """s and w as they are now."""
        return Relevance(self.scale.item(), self.word_weight.item())

    def set_relevance(self, relevance: Relevance) -> None:
        """Puts other s and w in their place, from which training goes on."""
        with torch.no_grad():
            self.log_scale.fill_(math.log(relevance.scale))
            self.word_weight.fill_(relevance.word_weight)

    def score(
        self, query_vectors: Tensor, passage_vectors: Tensor, words: Tensor | None = None
    ) -> Tensor:
        """f(x, z), see `realm.model.relevance`.

        Queries [b, size] with passages [n, size] for all pairs [b, n], or with each query's own
        candidates [b, k, size] for [b, k].

        :param words: the BM25 score of each pair, of the result's shape; None: vectors alone.
        """
        if passage_vectors.dim() == 3:
            dots = torch.einsum("bd,bkd->bk", query_vectors, passage_vectors)
        else:
            dots = query_vectors @ passage_vectors.T
        if words is None:
            return self.scale * dots
        return relevance(self.scale, self.word_weight, dots, words.to(dots))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an `encode` is: inputs done of total, tokens computed, padding among them."""

    done: int
    total: int
    tokens: int
    padding: int


def collate(
    inputs: Sequence[Encoded], pad_id: int, *, multiple: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Pads to the longest input, rounded up to `multiple`.

    Returns ids and segments (int64) and mask (bool, True for tokens), each [batch, tokens].
    """
    longest = max(map(len, inputs))
    width = -(-longest // multiple) * multiple
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


def encode(
    encoder: Encoder,
    inputs: Sequence[Encoded],
    pad_id: int,
    *,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
    on_batch: Callable[[Progress], None] | None = None,
) -> NDArray[np.float32]:
    """Vectors [n, embedding_size] in the order of `inputs`, dropout off.

    `dtype` is the backbone's number format (float32 by default; see `runtime.best_dtype`).
    `on_batch` hears of every batch; what it raises ends the work.

    :raises InvalidInput: if an input has no tokens.
    """
    if not all(map(len, inputs)):
        raise InvalidInput("an input without tokens cannot be encoded")
    device = encoder.device
    on_cuda = device.type == "cuda"
    budget = token_budget or (CUDA_TOKEN_BUDGET if on_cuda else CPU_TOKEN_BUDGET)
    vectors = np.empty((len(inputs), encoder.embedding_size), dtype=np.float32)
    progress = Progress(0, len(inputs), 0, 0)
    was_training = encoder.training
    encoder.eval()
    try:
        # One autocast region for all batches: it casts the weights once, not once a batch.
        half = dtype not in (None, torch.float32)
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=half):
            for batch in plan_batches([len(one) for one in inputs], budget):
                chosen = [inputs[i] for i in batch]
                tensors = collate(chosen, pad_id, multiple=CUDA_PAD_MULTIPLE if on_cuda else 1)
                ids, segments, mask = (t.to(device, non_blocking=True) for t in tensors)
                vectors[batch] = encoder(ids, segments, mask).float().cpu().numpy()
                progress = _advance(progress, chosen, ids.numel())
                if on_batch is not None:
                    on_batch(progress)
    finally:
        encoder.train(was_training)
    return vectors * np.array([[one.weight] for one in inputs], np.float32).reshape(-1, 1)


def _advance(progress: Progress, batch: Sequence[Encoded], computed: int) -> Progress:
    return Progress(
        done=progress.done + len(batch),
        total=progress.total,
        tokens=progress.tokens + computed,
        padding=progress.padding + computed - sum(map(len, batch)),
    )


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision widened; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

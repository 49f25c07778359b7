"""Embed(·) of queries and passages: REALM, section 3.2, with one backbone, pooling and projection.

An `Encoder` learns; a `FrozenEncoder` makes vectors of unpadded inputs, in batches of like length:
padding is the cost that a text encoder pays for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from realm.errors import InvalidInput
from realm.model.bert import ACTIVATIONS, Bert
from realm.model.config import ModelConfig, Pooling, Projection
from realm.model.flat_bert import FLAT_PAD_MULTIPLE, Block, FlatBert, can_be_flat
from realm.model.inputs import Encoded
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
    width = _rounded_up(longest, multiple)
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


class BatchForward(Protocol):
    """Makes vectors of a batch of inputs."""

    def __call__(self, inputs: Sequence[Encoded]) -> Tensor:
        """Vectors [inputs, size]."""
        ...

    def tokens(self, inputs: Sequence[Encoded]) -> int:
        """How many are computed for these inputs, padding among them."""
        ...

    def number_format(self) -> AbstractContextManager[object]:
        """To be entered once for all batches."""
        ...


class PaddedForward:
    """Any encoder on any device: all inputs of a batch as long as its longest."""

    def __init__(self, encoder: Encoder, pad_id: int, dtype: torch.dtype) -> None:
        self._encoder = encoder
        self._pad_id = pad_id
        self._dtype = dtype
        self._multiple = CUDA_PAD_MULTIPLE if encoder.device.type == "cuda" else 1

    def __call__(self, inputs: Sequence[Encoded]) -> Tensor:
        tensors = collate(inputs, self._pad_id, multiple=self._multiple)
        device = self._encoder.device
        ids, segments, mask = (each.to(device, non_blocking=True) for each in tensors)
        vectors: Tensor = self._encoder(ids, segments, mask)
        return vectors

    def tokens(self, inputs: Sequence[Encoded]) -> int:
        return len(inputs) * _rounded_up(max(map(len, inputs)), self._multiple)

    def number_format(self) -> AbstractContextManager[object]:
        # One autocast region for all batches: it casts the weights once, not once a batch.
        half = self._dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self._encoder.device.type, dtype=self._dtype, enabled=half)


class FlatForward:
    """BERT on a processor: each input padded to its own next multiple."""

    def __init__(self, bert: Bert, head: Head, pad_id: int, dtype: torch.dtype) -> None:
        self._bert = FlatBert(bert, dtype)
        self._head = head
        self._pad_id = pad_id

    def __call__(self, inputs: Sequence[Encoded]) -> Tensor:
        blocks = [self._block(list(alike)) for _, alike in groupby(inputs, _flat_width)]
        states = self._bert(blocks)
        return torch.cat(
            [self._head(own, mask) for own, (_, _, mask) in zip(states, blocks, strict=True)]
        )

    def tokens(self, inputs: Sequence[Encoded]) -> int:
        return sum(map(_flat_width, inputs))

    def number_format(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _block(self, inputs: Sequence[Encoded]) -> Block:
        return collate(inputs, self._pad_id, multiple=FLAT_PAD_MULTIPLE)


class FrozenEncoder:
    """Embed(·) of weights that learn no more: it makes vectors and nothing else, without dropout.

    On a processor BERT is computed flat (`realm.model.flat_bert`), by a copy of its layers; all
    else is computed by the encoder itself.
    """

    def __init__(self, encoder: Encoder, pad_id: int, dtype: torch.dtype | None = None) -> None:
        """:param encoder: in eval mode, and to stay so.
        :param dtype: the backbone's number format, by default its own (see `runtime.best_dtype`).
        """
        self.device = encoder.device
        self.embedding_size = encoder.embedding_size
        self._forward: BatchForward
        chosen = dtype or next(encoder.parameters()).dtype
        if can_be_flat(encoder.backbone):
            self._forward = FlatForward(encoder.backbone, encoder.head, pad_id, chosen)
        else:
            self._forward = PaddedForward(encoder, pad_id, chosen)

    @torch.inference_mode()
    def encode(
        self,
        inputs: Sequence[Encoded],
        *,
        token_budget: int | None = None,
        on_batch: Callable[[Progress], None] | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [n, embedding_size] in the order of `inputs`.

        `on_batch` hears of every batch; what it raises ends the work.

        :raises InvalidInput: if an input has no tokens.
        """
        if not all(map(len, inputs)):
            raise InvalidInput("an input without tokens cannot be encoded")
        usual = CUDA_TOKEN_BUDGET if self.device.type == "cuda" else CPU_TOKEN_BUDGET
        vectors = np.empty((len(inputs), self.embedding_size), dtype=np.float32)
        progress = Progress(0, len(inputs), 0, 0)
        with self._forward.number_format():
            for batch in plan_batches([len(one) for one in inputs], token_budget or usual):
                chosen = [inputs[i] for i in batch]
                vectors[batch] = self._forward(chosen).float().cpu().numpy()
                progress = _advance(progress, chosen, self._forward.tokens(chosen))
                if on_batch is not None:
                    on_batch(progress)
        return vectors * np.array([[one.weight] for one in inputs], np.float32).reshape(-1, 1)


def encode(
    encoder: Encoder,
    inputs: Sequence[Encoded],
    pad_id: int,
    *,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
    on_batch: Callable[[Progress], None] | None = None,
) -> NDArray[np.float32]:
    """As `FrozenEncoder.encode`, once, with the weights of an encoder that may learn on."""
    was_training = encoder.training
    encoder.eval()
    try:
        frozen = FrozenEncoder(encoder, pad_id, dtype)
        return frozen.encode(inputs, token_budget=token_budget, on_batch=on_batch)
    finally:
        encoder.train(was_training)


def _flat_width(encoded: Encoded) -> int:
    return _rounded_up(len(encoded), FLAT_PAD_MULTIPLE)


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


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

"""Inputs of a flat matrix on a processor: in blocks, each padded to its own next multiple."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realm.model.bert import Bert
from realm.model.encoders import rounded_up
from realm.model.flat_bert import FlatBert, is_plain_bert
from realm.model.runtime import has_amx

#: Attention over 170 tokens takes longer than over 176: the processor's units for matrices want
#: aligned widths.
BLOCK_MULTIPLE = 16

#: oneDNN compiles a product anew for each number of rows, which takes longer than the product:
#: rows are added, up to the next of at most `STEPS` numbers for each power of two.
FINEST_STEP, STEPS = 16, 16

#: Scores of attention that a core's cache holds, in bfloat16, beside what they are made of.
CACHED_SCORES = 1 << 19

#: Ids, segments and mask (True for tokens) of some inputs, [rows, width] each.
Block = tuple[Tensor, Tensor, Tensor]


def even_rows(tokens: int) -> int:
    """How many rows so many tokens are computed as: at most an eighth more, or 15 more."""
    step = FINEST_STEP
    while step * STEPS < tokens:
        step *= 2
    return rounded_up(tokens, step)


def states_of_blocks(bert: FlatBert, blocks: Sequence[Block]) -> list[Tensor]:
    """States [rows, width, hidden] of each block."""
    shapes = [Shape.of(mask, bert.dtype) for _, _, mask in blocks]
    tokens = sum(one.tokens for one in shapes)
    # Padding may reach beyond the last position, a token never does.
    last = bert.longest - 1
    places = [torch.arange(one.width).clamp(max=last).repeat(one.rows) for one in shapes]
    ids, segments, positions = (
        F.pad(torch.cat(parts), (0, even_rows(tokens) - tokens))  # [rows]
        for parts in (
            [ids.flatten() for ids, _, _ in blocks],
            [segments.flatten() for _, segments, _ in blocks],
            places,
        )
    )
    states = bert(ids, segments, positions, BlockAttention(shapes))  # [rows, hidden]
    parts = of_shapes(states, shapes)
    return [part.view(one.rows, one.width, -1) for part, one in zip(parts, shapes, strict=True)]


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


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """A block at a time."""

    shapes: Sequence[Shape]

    def __call__(self, projected: Tensor) -> Tensor:
        """[rows, 3, heads, size] → [rows, heads, size]; zeros for rows of no block"""
        parts = of_shapes(projected, self.shapes)
        mixed = [_attention(part, one) for part, one in zip(parts, self.shapes, strict=True)]
        added = len(projected) - sum(map(len, mixed))
        if not added and len(mixed) == 1:
            return mixed[0]
        return torch.cat([*mixed, mixed[0].new_zeros(added, *mixed[0].shape[1:])])


def _attention(projected: Tensor, shape: Shape) -> Tensor:
    """[rows · width, 3, heads, size] → [rows · width, heads, size]"""
    parts = projected.view(shape.rows, shape.width, *projected.shape[1:])
    query, key, value = parts.permute(2, 0, 3, 1, 4)  # [rows, heads, width, size] each
    # Without AMX torch's own multiplies bfloat16 at a quarter of oneDNN's rate.
    in_parts = query.dtype == torch.bfloat16 and not has_amx()
    attend = attend_by_products if in_parts else F.scaled_dot_product_attention
    return attend(query, key, value, shape.attended).transpose(1, 2).flatten(0, 1)


def attend_by_products(
    query: Tensor, key: Tensor, value: Tensor, attended: Tensor | None
) -> Tensor:
    """As `scaled_dot_product_attention`, of as many rows at once as the cache holds scores of.

    `query`, `key`, `value` [rows, heads, width, size], `attended` [rows, 1, 1, width]
    → [rows, heads, width, size]
    """
    rows, heads, width, size = query.shape
    # Of the layout that is wanted next.
    mixed = query.new_empty(rows, width, heads, size).transpose(1, 2)
    at_once = max(1, CACHED_SCORES // (heads * width * width))
    for some in (slice(start, start + at_once) for start in range(0, rows, at_once)):
        scores = query[some] @ key[some].transpose(-1, -2)  # [some, heads, width, width]
        if attended is None:
            scores *= size**-0.5
        else:
            scores = torch.add(attended[some], scores, alpha=size**-0.5)
        mixed[some] = scores.softmax(-1) @ value[some]
    return mixed


def of_shapes(x: Tensor, shapes: Sequence[Shape]) -> Sequence[Tensor]:
    """[rows, …] → [tokens, …] of each block, without what was added below"""
    tokens = [one.tokens for one in shapes]
    return torch.split(x[: sum(tokens)], tokens)


@dataclass(frozen=True, slots=True)
class BlockRunner:
    """A `realm.model.encoders.ForwardRunner` for a backbone that learns no more."""

    bert: FlatBert

    def __call__(
        self, forward: object, backbone: object, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        return states_of_blocks(self.bert, [(ids, segments, mask)])[0]


def can_be_in_blocks(backbone: nn.Module) -> TypeGuard[Bert]:
    return is_plain_bert(backbone) and next(backbone.parameters()).device.type == "cpu"

"""Inputs of a flat matrix on a GPU: one after the other, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate, chain
from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realm.model.bert import Bert
from realm.model.flat_bert import is_plain_bert
from realm.model.inputs import Encoded

#: Torch 2.10 and newer. Imported where there is a GPU alone: it brings torch's compiler along.
VARLEN = "torch.nn.attention.varlen"

#: What flash attention asks for: Ampere or newer, heads of a multiple of 8 numbers up to 256.
LEAST_CAPABILITY = (8, 0)
HEAD_MULTIPLE, WIDEST_HEAD = 8, 256


def can_be_packed(backbone: nn.Module, dtype: torch.dtype) -> TypeGuard[Bert]:
    """Whether torch's flash attention computes inputs of any lengths on this model's device."""
    if not is_plain_bert(backbone):
        return False
    device = next(backbone.parameters()).device
    if device.type != "cuda" or dtype.itemsize != 2 or not find_spec(VARLEN):
        return False
    size = backbone.head_size
    fits = size % HEAD_MULTIPLE == 0 and size <= WIDEST_HEAD
    return fits and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


@dataclass(frozen=True, slots=True)
class Packed:
    """`ids`, `segments`, `positions` [tokens]; input i lies from `bounds[i]` to `bounds[i + 1]`
    ([inputs + 1]); int32, on a device. `longest` is the most tokens of an input."""

    ids: Tensor
    segments: Tensor
    positions: Tensor
    bounds: Tensor
    longest: int

    @classmethod
    def of(cls, inputs: Sequence[Encoded], device: torch.device) -> Packed:
        lengths = [len(one) for one in inputs]
        bounds = np.fromiter(accumulate(lengths, initial=0), np.int32)  # [inputs + 1]
        tokens = int(bounds[-1])
        positions = np.arange(tokens, dtype=np.int32) - np.repeat(bounds[:-1], lengths)
        ids = np.fromiter(chain.from_iterable(one.ids for one in inputs), np.int32, tokens)
        segments = np.fromiter(
            chain.from_iterable(one.segments for one in inputs), np.int32, tokens
        )
        return cls(
            ids=_sent(ids, device),
            segments=_sent(segments, device),
            positions=_sent(positions, device),
            bounds=_sent(bounds, device),
            longest=max(lengths),
        )

    def attend(self, projected: Tensor) -> Tensor:
        """[tokens, 3, heads, size] → [tokens, heads, size]"""
        query, key, value = projected.unbind(1)  # [tokens, heads, size] each
        mixed: Tensor = import_module(VARLEN).varlen_attn(
            query, key, value, self.bounds, self.bounds, self.longest, self.longest
        )
        return mixed

    def padded(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """`states` [tokens, hidden] → [inputs, longest, hidden] and mask [inputs, longest]."""
        starts, ends = self.bounds[:-1, None], self.bounds[1:, None]  # [inputs, 1] each
        rows = starts + torch.arange(self.longest, device=states.device)  # [inputs, longest]
        mask = rows < ends  # [inputs, longest]
        return states[torch.where(mask, rows, starts)], mask


def _sent(part: NDArray[np.int32], device: torch.device) -> Tensor:
    """Copied while the device computes: only pinned memory can be."""
    tensor = torch.from_numpy(part)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

"""How batches of inputs become vectors, on each kind of device."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.model.bert import Bert
from realm.model.blocks import BLOCK_MULTIPLE, Block, can_be_in_blocks, even_rows, states_of_blocks
from realm.model.encoders import Encoder, Head, collate, plan_batches, rounded_up
from realm.model.flat_bert import FlatBert
from realm.model.inputs import Encoded
from realm.model.packed import Packed, can_be_packed

CUDA_PAD_MULTIPLE = 8  # tensor cores want aligned lengths

Vectors = NDArray[np.float32]
Batch = Sequence[Encoded]


class BatchForward(Protocol):
    """Makes vectors of batches of inputs."""

    def plan(self, inputs: Batch, token_budget: int) -> list[list[int]]:
        """Positions of inputs in batches of at most so many tokens, padding among them."""
        ...

    def tokens(self, batch: Batch) -> int:
        """How many are computed for it, padding among them."""
        ...

    def vectors(self, batches: Sequence[Batch]) -> Generator[Vectors]:
        """[inputs, size] of each batch; to be closed."""
        ...


def make_forward(encoder: Encoder, pad_id: int, dtype: torch.dtype) -> BatchForward:
    """BERT is computed flat by a copy of its layers, all else by the encoder itself."""
    backbone = encoder.backbone
    if can_be_in_blocks(backbone):
        return BlockForward(backbone, encoder.head, pad_id, dtype)
    if can_be_packed(backbone, dtype):
        return PackedForward(backbone, encoder.head, dtype)
    return PaddedForward(encoder, pad_id, dtype)


class PaddedForward:
    """Any encoder on any device: all inputs of a batch as long as its longest."""

    def __init__(self, encoder: Encoder, pad_id: int, dtype: torch.dtype) -> None:
        self._encoder = encoder
        self._pad_id = pad_id
        self._dtype = dtype
        self._multiple = CUDA_PAD_MULTIPLE if encoder.device.type == "cuda" else 1

    def plan(self, inputs: Batch, token_budget: int) -> list[list[int]]:
        return plan_batches([len(one) for one in inputs], token_budget)

    def tokens(self, batch: Batch) -> int:
        return len(batch) * rounded_up(max(map(len, batch)), self._multiple)

    def vectors(self, batches: Sequence[Batch]) -> Generator[Vectors]:
        half = self._dtype in (torch.bfloat16, torch.float16)
        device = self._encoder.device.type
        # One autocast region for all batches: it casts the weights once, not once a batch.
        with torch.inference_mode(), torch.autocast(device, dtype=self._dtype, enabled=half):
            yield from map(self._batch, batches)

    def _batch(self, batch: Batch) -> Vectors:
        tensors = collate(batch, self._pad_id, multiple=self._multiple)
        return _to_numpy(self._encoder(*(each.to(self._encoder.device) for each in tensors)))


class BlockForward:
    """BERT on a processor: each input padded to its own next multiple."""

    def __init__(self, bert: Bert, head: Head, pad_id: int, dtype: torch.dtype) -> None:
        self._bert = FlatBert(bert, dtype)
        self._head = head
        self._pad_id = pad_id

    def plan(self, inputs: Batch, token_budget: int) -> list[list[int]]:
        batches = fill_batches([_width(one) for one in inputs], token_budget)
        # Those of one width lie together: their attention is computed together.
        return [sorted(batch, key=lambda i: -len(inputs[i])) for batch in batches]

    def tokens(self, batch: Batch) -> int:
        return even_rows(sum(map(_width, batch)))

    def vectors(self, batches: Sequence[Batch]) -> Generator[Vectors]:
        """A thread a batch: threads that share a product wait for one another after each."""
        return _by_threads(self._batch, batches)

    @torch.inference_mode()
    def _batch(self, batch: Batch) -> Vectors:
        blocks = [self._block(list(alike)) for _, alike in groupby(batch, _width)]
        states = states_of_blocks(self._bert, blocks)
        parts = [self._head(own, mask) for own, (_, _, mask) in zip(states, blocks, strict=True)]
        return _to_numpy(torch.cat(parts))

    def _block(self, inputs: Batch) -> Block:
        return collate(inputs, self._pad_id, multiple=BLOCK_MULTIPLE)


class PackedForward:
    """BERT on a GPU: no padding, and the next batch is sent while one is computed."""

    def __init__(self, bert: Bert, head: Head, dtype: torch.dtype) -> None:
        self._bert = FlatBert(bert, dtype)
        self._head = head
        self._device = next(bert.parameters()).device

    def plan(self, inputs: Batch, token_budget: int) -> list[list[int]]:
        return fill_batches([len(one) for one in inputs], token_budget)

    def tokens(self, batch: Batch) -> int:
        return sum(map(len, batch))

    def vectors(self, batches: Sequence[Batch]) -> Generator[Vectors]:
        return _one_ahead(self._begin, batches)

    @torch.inference_mode()
    def _begin(self, batch: Batch) -> Callable[[], Vectors]:
        """Asks the device for the vectors; the result waits for them."""
        packed = Packed.of(batch, self._device)
        states = self._bert(packed.ids, packed.segments, packed.positions, packed.attend)
        made = self._head(*packed.padded(states)).float()  # [inputs, size]
        kept = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
        kept.copy_(made, non_blocking=True)
        there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        there.record(torch.cuda.current_stream(self._device))

        def wait() -> Vectors:
            there.synchronize()
            return _to_numpy(kept)

        return wait


def fill_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Positions of `lengths` in batches of at most `token_budget` tokens, of any lengths together:
    longest first, then the longest that has room. A longer input than the budget is alone.
    """
    left = sorted(range(len(lengths)), key=lambda i: lengths[i])  # shortest first
    batches: list[list[int]] = []
    while left:
        batch, room = [left.pop()], token_budget
        room -= lengths[batch[0]]
        while place := bisect_right(left, room, key=lengths.__getitem__):
            batch.append(left.pop(place - 1))
            room -= lengths[batch[-1]]
        batches.append(batch)
    return batches


def _by_threads(work: Callable[[Batch], Vectors], batches: Sequence[Batch]) -> Generator[Vectors]:
    """Each of torch's threads computes batches of its own."""
    own = torch.get_num_threads()
    threads = min(own, len(batches))
    if threads <= 1:
        yield from map(work, batches)
        return
    pool = ThreadPoolExecutor(threads, "encode", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, batches)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(own)  # also of threads to come


def _one_ahead(
    begin: Callable[[Batch], Callable[[], Vectors]], batches: Iterable[Batch]
) -> Generator[Vectors]:
    """The results of what was begun, each waited for when the next has been begun."""
    before: Callable[[], Vectors] | None = None
    for batch in batches:
        begun = begin(batch)
        if before is not None:
            yield before()
        before = begun
    if before is not None:
        yield before()


def _to_numpy(vectors: Tensor) -> Vectors:
    found: Vectors = vectors.float().cpu().numpy()
    return found


def _width(encoded: Encoded) -> int:
    return rounded_up(len(encoded), BLOCK_MULTIPLE)

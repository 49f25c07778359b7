"""An encoder that learns no more: vectors of unpadded inputs, in batches that waste little.

Padding is the cost that a text encoder pays for nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.errors import InvalidInput
from realm.model.bert import Bert
from realm.model.encoders import (
    CPU_TOKEN_BUDGET,
    CUDA_TOKEN_BUDGET,
    Encoder,
    Head,
    collate,
    plan_batches,
    rounded_up,
)
from realm.model.flat_bert import FLAT_PAD_MULTIPLE, Block, FlatBert, can_be_flat, even_rows
from realm.model.inputs import Encoded

CUDA_PAD_MULTIPLE = 8  # tensor cores want aligned lengths


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an `encode` is: inputs done of total, tokens computed, padding among them."""

    done: int
    total: int
    tokens: int
    padding: int


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


class BatchForward(Protocol):
    """Makes vectors of a batch of inputs."""

    def plan(self, inputs: Sequence[Encoded], token_budget: int) -> list[list[int]]:
        """Positions of inputs in batches of at most so many tokens, padding among them."""
        ...

    def __call__(self, inputs: Sequence[Encoded]) -> Tensor:
        """Vectors [inputs, size]."""
        ...

    def tokens(self, inputs: Sequence[Encoded]) -> int:
        """How many are computed for these inputs, padding among them."""
        ...

    def number_format(self) -> AbstractContextManager[object]:
        """To be entered once for all batches."""
        ...

    @property
    def at_once(self) -> int:
        """How many batches to compute at once, each by a thread of its own."""
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

    def plan(self, inputs: Sequence[Encoded], token_budget: int) -> list[list[int]]:
        return plan_batches([len(one) for one in inputs], token_budget)

    def tokens(self, inputs: Sequence[Encoded]) -> int:
        return len(inputs) * rounded_up(max(map(len, inputs)), self._multiple)

    def number_format(self) -> AbstractContextManager[object]:
        # One autocast region for all batches: it casts the weights once, not once a batch.
        half = self._dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self._encoder.device.type, dtype=self._dtype, enabled=half)

    @property
    def at_once(self) -> int:
        return 1


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

    def plan(self, inputs: Sequence[Encoded], token_budget: int) -> list[list[int]]:
        batches = fill_batches([_flat_width(one) for one in inputs], token_budget)
        # Those of one width lie together: their attention is computed together.
        return [sorted(batch, key=lambda i: -len(inputs[i])) for batch in batches]

    def tokens(self, inputs: Sequence[Encoded]) -> int:
        return even_rows(sum(map(_flat_width, inputs)))

    def number_format(self) -> AbstractContextManager[object]:
        return nullcontext()

    @property
    def at_once(self) -> int:
        # Threads that share a product wait for one another at the end of each.
        return torch.get_num_threads()

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
        plan = self._forward.plan(inputs, token_budget or usual)
        batches = [[inputs[i] for i in batch] for batch in plan]
        with self._computed(batches) as computed:
            for rows, batch, made in zip(plan, batches, computed, strict=True):
                vectors[rows] = made
                progress = _advance(progress, batch, self._forward.tokens(batch))
                if on_batch is not None:
                    on_batch(progress)
        return vectors * np.array([[one.weight] for one in inputs], np.float32).reshape(-1, 1)

    @contextmanager
    def _computed(
        self, batches: Sequence[Sequence[Encoded]]
    ) -> Iterator[Iterator[NDArray[np.float32]]]:
        """Vectors [inputs, embedding_size] of each batch."""
        threads = min(self._forward.at_once, len(batches))
        if threads <= 1:
            with self._forward.number_format():
                yield map(self._vectors, batches)
            return
        own = torch.get_num_threads()
        pool = ThreadPoolExecutor(
            threads, "encode", initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            yield pool.map(self._vectors, batches)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(own)  # also of threads to come

    @torch.inference_mode()
    def _vectors(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = self._forward(batch).float().cpu().numpy()
        return made


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
    return rounded_up(len(encoded), FLAT_PAD_MULTIPLE)


def _advance(progress: Progress, batch: Sequence[Encoded], computed: int) -> Progress:
    return Progress(
        done=progress.done + len(batch),
        total=progress.total,
        tokens=progress.tokens + computed,
        padding=progress.padding + computed - sum(map(len, batch)),
    )

"""An encoder that learns no more: vectors of unpadded inputs, in batches that waste little.

Padding is the cost that a text encoder pays for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from realm.errors import InvalidInput
from realm.model.batch_forward import Batch, make_forward
from realm.model.encoders import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, Encoder
from realm.model.inputs import Encoded

#: Tokens of a batch that fit into a device's memory, once more of them did not.
_fitting: dict[torch.device, int] = {}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an `encode` is: inputs done of total, tokens computed, padding among them."""

    done: int
    total: int
    tokens: int
    padding: int


class FrozenEncoder:
    """Embed(·) of weights that learn no more, without dropout."""

    def __init__(self, encoder: Encoder, pad_id: int, dtype: torch.dtype | None = None) -> None:
        """:param encoder: in eval mode, and to stay so.
        :param dtype: the backbone's number format, by default its own (see `runtime.best_dtype`).
        """
        self.device = encoder.device
        self.embedding_size = encoder.embedding_size
        self._forward = make_forward(encoder, pad_id, dtype or next(encoder.parameters()).dtype)

    def encode(
        self,
        inputs: Sequence[Encoded],
        *,
        token_budget: int | None = None,
        on_batch: Callable[[Progress], None] | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [n, embedding_size] in the order of `inputs`.

        `on_batch` hears of every batch; what it raises ends the work. Where a batch does not fit
        into the device's memory, batches of half as many tokens are tried, from then on.

        :raises InvalidInput: if an input has no tokens.
        :raises torch.OutOfMemoryError: if one input alone does not fit.
        """
        if not all(map(len, inputs)):
            raise InvalidInput("an input without tokens cannot be encoded")
        work = _Work(inputs, np.empty((len(inputs), self.embedding_size), np.float32), on_batch)
        while not self._goes_through(work, self._budget(token_budget)):
            torch.cuda.empty_cache()  # only now: the error kept the batch's tensors
        return work.vectors * np.array([[one.weight] for one in inputs], np.float32).reshape(-1, 1)

    def _budget(self, asked: int | None) -> int:
        usual = CUDA_TOKEN_BUDGET if self.device.type == "cuda" else CPU_TOKEN_BUDGET
        budget = asked or usual
        return min(budget, _fitting.get(self.device, budget))

    def _goes_through(self, work: _Work, token_budget: int) -> bool:
        """Makes what is left of the vectors; False: a batch did not fit into memory."""
        left = work.left
        plan = self._forward.plan([work.inputs[i] for i in left], token_budget)
        rows = [[left[i] for i in batch] for batch in plan]
        batches = [[work.inputs[i] for i in batch] for batch in rows]
        try:
            with closing(self._forward.vectors(batches)) as computed:
                for own, batch, made in zip(rows, batches, computed, strict=True):
                    work.take(own, made, self._forward.tokens(batch))
        except torch.OutOfMemoryError:
            if token_budget <= max(len(work.inputs[i]) for i in left):
                raise
            _fitting[self.device] = token_budget // 2
            log.warning("batch_does_not_fit", tokens=token_budget, tried_next=token_budget // 2)
            return False
        return True


class _Work:
    """The vectors that are made, and which are not yet."""

    def __init__(
        self,
        inputs: Batch,
        vectors: NDArray[np.float32],
        on_batch: Callable[[Progress], None] | None,
    ) -> None:
        self.inputs = inputs
        self.vectors = vectors
        self._on_batch = on_batch
        self._made = np.zeros(len(inputs), np.bool_)
        self._progress = Progress(0, len(inputs), 0, 0)

    @property
    def left(self) -> list[int]:
        return [int(i) for i in np.flatnonzero(~self._made)]

    def take(self, rows: Sequence[int], made: NDArray[np.float32], computed: int) -> None:
        """The vectors of a batch, for which so many tokens were computed."""
        self.vectors[rows] = made
        self._made[rows] = True
        before = self._progress
        self._progress = Progress(
            done=before.done + len(rows),
            total=before.total,
            tokens=before.tokens + computed,
            padding=before.padding + computed - sum(len(self.inputs[i]) for i in rows),
        )
        if self._on_batch is not None:
            self._on_batch(self._progress)


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

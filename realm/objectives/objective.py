"""What an objective is: passages and chance become a batch, a batch and a model a loss."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.model.inputs import Encoded

#: Passages that one example may cost before the corpus counts as unusable for an objective.
TRIES_PER_EXAMPLE = 200

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class Loss:
    """`value` [] is what to minimise; `figures` are plain numbers about the batch."""

    value: Tensor
    figures: dict[str, float]


class Objective(Protocol[BatchT]):
    """One way to learn. `skipped` counts, by reason, what was drawn and not used.

    `needs_index`: `batch` searches, and fails where nothing can be searched.
    """

    name: str
    needs_index: bool
    skipped: Counter[str]

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> BatchT:
        """Draws passages until a batch is whole; never one of a held-out document.

        :raises NotReady: if the passages hold too little of use.
        """
        ...

    def loss(self, batch: BatchT, model: Model) -> Loss: ...

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as JSON values."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...


class Draw:
    """Passages to learn from, one after another: those of held-out documents left out."""

    def __init__(
        self, passages: Iterator[Passage], skipped: Counter[str], objective: str, examples: int
    ) -> None:
        self._passages = passages
        self._skipped = skipped
        self._objective = objective
        self._left = examples * TRIES_PER_EXAMPLE

    def __iter__(self) -> Iterator[Passage]:
        """:raises NotReady: when so many were drawn that the corpus must be unusable."""
        for passage in self._passages:
            self._left -= 1
            if self._left < 0:
                break
            if is_held_out(passage.document_id):
                self._skipped["held_out"] += 1
            else:
                yield passage
        raise NotReady(
            f"the corpus holds too few passages that {self._objective} can learn from"
            f" (skipped so far: {dict(self._skipped)}); add documents with several sentences"
        )


class SignalGate:
    """Opens once a signal's moving average is above a margin: before that it is noise.

    An untrained masked-LM or span head says nothing about which passage helped, so the retriever
    must not learn from it yet. Pure: `observe` figures, ask `open`.
    """

    def __init__(self, margin: float = 0.0, decay: float = 0.95, least: int = 20) -> None:
        self.margin = margin
        self.decay = decay
        self.least = least
        self.average = 0.0
        self.seen = 0

    @property
    def open(self) -> bool:
        return self.seen >= self.least and self.average > self.margin

    def observe(self, signal: float) -> None:
        """An unusable figure (NaN, infinite) is no observation."""
        if not math.isfinite(signal):
            return
        self.seen += 1
        # A plain mean at first, so that the beginning does not drag behind the start value.
        weight = max(1 - self.decay, 1 / self.seen)
        self.average += weight * (signal - self.average)

    def state(self) -> dict[str, float]:
        return {"average": self.average, "seen": self.seen}

    def restore(self, state: dict[str, float]) -> None:
        self.average = float(state["average"])
        self.seen = int(state["seen"])


def tensors(
    inputs: Sequence[Encoded], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and mask of inputs, each [batch, tokens], on the device."""
    ids, segments, mask = collate(inputs, pad_id)
    return ids.to(device), segments.to(device), mask.to(device)

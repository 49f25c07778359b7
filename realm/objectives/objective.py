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
#: Standard errors. Noise is asked at every step: within 500 it passes in fewer than 1% of runs.
SIGNIFICANT = 4.0

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
    skipped: Counter[str]

    @property
    def needs_index(self) -> bool: ...

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


class PassageSource:
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
    """Opens once a signal's moving mean is above a margin by `SIGNIFICANT` standard errors.

    An untrained masked-LM or span head says nothing about which passage helped, so the retriever
    must not learn from it yet. How far chance takes a mean follows from batch and variance, which
    the standard error measures. An open gate shuts when the mean is no longer above the margin.
    Pure: `observe` figures, ask `open`.

    :param margin: what is too small to learn from, however sure.
    :param decay: of an observation's weight, a step: the mean is over some 2 / (1 − decay) steps.
    """

    def __init__(self, margin: float = 0.0, decay: float = 0.98, least: int = 20) -> None:
        self.margin = margin
        self.decay = decay
        self.least = least
        self.open = False
        self.average = 0.0
        self.variance = 0.0
        self.seen = 0
        self._squares = 0.0  # Σ w², of the weights w whose sum is 1

    def observe(self, signal: float) -> None:
        """An unusable figure (NaN, infinite) is no observation."""
        if not math.isfinite(signal):
            return
        self.seen += 1
        # A plain mean at first, so that the beginning does not drag behind the start value.
        weight = max(1 - self.decay, 1 / self.seen)
        change = signal - self.average
        self.average += weight * change
        self.variance = (1 - weight) * (self.variance + weight * change**2)
        self._squares = (1 - weight) ** 2 * self._squares + weight**2
        above = self.average - self.margin
        if self.open:
            self.open = above > 0
        elif self.seen >= self.least:
            self.open = above > SIGNIFICANT * self.standard_error

    @property
    def standard_error(self) -> float:
        """Of the moving mean; infinite before there are two observations."""
        if self._squares >= 1:
            return math.inf
        return math.sqrt(max(0.0, self.variance) * self._squares / (1 - self._squares))

    def state(self) -> dict[str, float]:
        return {
            "average": self.average,
            "variance": self.variance,
            "squares": self._squares,
            "seen": self.seen,
            "open": self.open,
        }

    def restore(self, state: dict[str, float]) -> None:
        """A state without variance, of an older release, begins anew."""
        if "variance" not in state:
            return
        self.average = float(state["average"])
        self.variance = float(state["variance"])
        self._squares = float(state["squares"])
        self.seen = int(state["seen"])
        self.open = bool(state["open"])


def tensors(
    inputs: Sequence[Encoded], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and mask of inputs, each [batch, tokens], on the device."""
    ids, segments, mask = collate(inputs, pad_id)
    return ids.to(device), segments.to(device), mask.to(device)

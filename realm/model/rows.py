"""How the rows of a batch go through a backbone: all at once, unless training says otherwise.

An encoder and a reader ask their `rows` to run them, so that training can share the rows out
(over parts, over processes) while every objective still sees the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

Run = Callable[[Tensor, Tensor, Tensor], Tensor]


class Rows(Protocol):
    """Gives what `run` gives for `ids`, `segments`, `mask`, each [rows, tokens].

    `backbone` is the module whose layers `run` goes through.
    """

    def __call__(
        self, run: Run, backbone: nn.Module, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor: ...


def at_once(run: Run, backbone: nn.Module, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
    """Plainly."""
    return run(ids, segments, mask)

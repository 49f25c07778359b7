"""How training runs the rows of a batch: in which number format, in parts, on several processes.

The objective sees the whole batch all the same, so in-batch negatives, means over rows and gates
are those of the one big batch, however it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from realm.model.bert import Bert
from realm.model.checkpoint import Model
from realm.model.encoders import ForwardPass, at_least_float32, run_directly
from realm.training.distributed import ALONE, World

_recompute = partial(checkpoint, use_reentrant=False)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """A `realm.model.encoders.ForwardRunner`.

    :param parts: rows are computed in so many parts. Only a part's activations are held at a
        time: each is computed again in the backward pass, and its gradients added to those of the
        parts before (gradient caching: Gao et al. 2021, section 3).
    :param dtype: the backbone's number format; results, and all that follows, are float32.
    :param recompute_layers: hold only the layers' inputs, and compute each again in the backward
        pass (Chen et al. 2016).
    """

    world: World = ALONE
    parts: int = 1
    dtype: torch.dtype = torch.float32
    recompute_layers: bool = False

    def __call__(
        self, forward: ForwardPass, backbone: Bert, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        work = partial(self._run, forward, backbone)
        if self.parts == 1 and self.world.alone:
            return work(ids, segments, mask)
        computed = [
            self._part(work, ids[rows], segments[rows], mask[rows])
            for rows in self._own(len(ids)).to(ids.device).chunk(self.parts)
        ]
        return self.world.gather(torch.cat(computed))[: len(ids)]

    @contextmanager
    def over(self, model: Model) -> Iterator[None]:
        """Within, this plan runs the rows of the model's towers and reader."""
        users = (model.retriever.query, model.retriever.passage, model.reader)
        for user in users:
            user.runner = self
        try:
            yield
        finally:
            for user in users:
                user.runner = run_directly

    def _own(self, rows: int) -> Tensor:
        """Positions of this process's rows: as many as any other's, some twice if need be."""
        each = -(-rows // self.world.size)
        return torch.arange(self.world.rank * each, (self.world.rank + 1) * each) % rows

    def _part(self, work: ForwardPass, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        if self.parts > 1 and torch.is_grad_enabled():
            again: Tensor = _recompute(work, ids, segments, mask)
            return again
        return work(ids, segments, mask)

    def _run(
        self, forward: ForwardPass, backbone: Bert, ids: Tensor, segments: Tensor, mask: Tensor
    ) -> Tensor:
        half = self.dtype != torch.float32
        with (
            torch.autocast(ids.device.type, dtype=self.dtype, enabled=half),
            recomputing_layers(backbone) if self.recompute_layers else nullcontext(),
        ):
            return at_least_float32(forward(ids, segments, mask))


@contextmanager
def recomputing_layers(backbone: Bert) -> Iterator[None]:
    """Within, the backbone's layers hold their inputs alone."""
    backbone.encoder.recompute = True
    try:
        yield
    finally:
        backbone.encoder.recompute = False

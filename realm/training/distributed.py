"""Training in several processes, started by `torchrun`: who one is, and what all agree on.

Every process makes the same batch and computes the same loss; only rows are shared out (see
`realm.training.learner`). So what is replicated stays equal, and what is shared is put together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from realm.errors import BadSettings, DependencyUnavailable

TIMEOUT = timedelta(minutes=30)  # the leader may read a large corpus while the others wait

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of one training; by itself, a world of one, where nothing is sent.

    `rank` 0 leads: it alone publishes, saves and decides.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def share(self, value: T) -> T:
        """The leader's `value`, in JSON's types, on every process.

        :raises DependencyUnavailable: if another process has ended.
        """
        if self.alone:
            return value
        data = json.dumps(value).encode() if self.leads else b""
        length = torch.tensor([len(data)])
        self._all(lambda: dist.broadcast(length, src=0))
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if self.leads:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._all(lambda: dist.broadcast(buffer, src=0))
        shared: T = json.loads(buffer.numpy().tobytes())
        return shared

    def all_agree(self, mine: bool) -> bool:
        """Whether it is true for every process."""
        if self.alone:
            return mine
        flag = torch.tensor([int(mine)])
        self._all(lambda: dist.all_reduce(flag, dist.ReduceOp.MIN))
        return bool(flag)

    def copy_leader(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites each tensor, on its device, by the leader's."""
        if not self.alone:
            for tensor in tensors:
                data = tensor.detach()
                self._all(lambda data=data: dist.broadcast(data, src=0))  # type: ignore[misc]

    def gather(self, own: Tensor) -> Tensor:
        """Rows [n, …] of each process → all of them [size · n, …], by rank, with gradient.

        The gradient that flows back is `size` times one's own part, for `mean_gradients` to
        divide: what follows the gathering is computed by all and must count once.
        """
        if self.alone:
            return own
        coalesced: Tensor = _Gather.apply(own, self)  # type: ignore[no-untyped-call]
        return coalesced

    def mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Averages gradients over the processes; one that no process has stays None."""
        if self.alone:
            return
        known = list(parameters)
        if not known:
            return
        has = torch.tensor([float(each.grad is not None) for each in known])
        self._all(lambda: dist.all_reduce(has))
        used = [each for each, count in zip(known, has.tolist(), strict=True) if count]
        if not used:
            return
        flat = torch.cat([_gradient(each).flatten() for each in used])
        self._all(lambda: dist.all_reduce(flat))
        flat /= self.size
        parts = torch.split(flat, [each.numel() for each in used])
        for each, part in zip(used, parts, strict=True):
            each.grad = part.view_as(each)

    def _all(self, collective: Callable[[], Any]) -> None:
        try:
            collective()
        except RuntimeError as error:
            raise DependencyUnavailable(
                f"process {self.rank} of {self.size} lost the others: {error};"
                " start all of them again"
            ) from error


#: What training is without torchrun.
ALONE = World()


class _Gather(torch.autograd.Function):
    """all_gather whose backward keeps one's own rows."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, world: World) -> Tensor:
        ctx.world, ctx.rows = world, len(own)
        parts = [torch.empty_like(own) for _ in range(world.size)]
        world._all(lambda: dist.all_gather(parts, own.contiguous()))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        start = ctx.world.rank * ctx.rows
        return gradients[0][start : start + ctx.rows] * ctx.world.size, None


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def local_rank() -> int:
    """Which of this machine's processes one is; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(device: torch.device) -> World:
    """Meets the processes that `torchrun` started; a world of one without it.

    :raises BadSettings: if torchrun's variables are incomplete.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    # What is decided lies in the processor's memory, gradients on the accelerator.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise BadSettings(f"the processes of this training cannot meet: {error}") from error
    return World(dist.get_rank(), dist.get_world_size())


def leave(world: World) -> None:
    """Ends the membership; harmless in a world of one."""
    if not world.alone and dist.is_initialized():
        dist.destroy_process_group()

"""Independent pieces of work over all compute threads of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Called with how many items are done, and how many there are.
OnProgress = Callable[[int, int], None]


#: Makes a listener for a named piece of work.
Progress = Callable[[str], OnProgress]


def no_progress(_done: int, _total: int) -> None:
    """Ignores progress."""


def no_progress_bars(_name: str) -> OnProgress:
    return no_progress


def parallel_map(
    work: Callable[[Sequence[Item], Callable[[int], None]], Sequence[Result]],
    items: Sequence[Item],
    device: torch.device,
    on_progress: OnProgress,
) -> list[Result]:
    """The results of `items` in their order; `work` processes a share and reports its progress.

    On a processor each thread takes every n-th item and computes alone: threads that share one
    matrix wait for the slowest, and on a busy machine that is most of the time.
    """
    count = min(torch.get_num_threads(), len(items)) if device.type == "cpu" else 1
    if count <= 1:
        return list(work(items, lambda done: on_progress(done, len(items))))
    done = [0] * count
    lock = Lock()

    def told(share: int, finished: int) -> None:
        with lock:
            done[share] = finished
            on_progress(sum(done), len(items))

    results: dict[int, Result] = {}
    with one_thread_each(), ThreadPoolExecutor(count, initializer=_one_thread) as pool:
        shares = [
            pool.submit(work, items[share::count], partial(told, share)) for share in range(count)
        ]
        for share, future in enumerate(shares):
            results |= zip(range(share, len(items), count), future.result(), strict=True)
    return [results[number] for number in range(len(items))]


@contextmanager
def one_thread_each() -> Iterator[None]:
    """No kernel is shared between threads; the process's budget comes back afterwards."""
    threads = torch.get_num_threads()
    _one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _one_thread() -> None:
    torch.set_num_threads(1)

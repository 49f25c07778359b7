"""How rate and memory depend on how much is encoded, and what a second worker adds."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.synchronize import Barrier

import psutil
import torch

from bench.embed.sides import Side, Text, realm_sides
from realm.model.runtime import set_threads

#: Passages encoded at once, as in an ordinary shard.
SHARD = 250
WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Volume:
    """Passages a second over so many passages, and the process's memory in bytes after them."""

    rate: float
    memory: int


def volumes(side: Side, texts: Sequence[Text], counts: Sequence[int]) -> dict[int, Volume]:
    """By count of passages, which come in shards; texts that run out begin anew."""
    found = {}
    for count in counts:
        passages = islice(cycle(texts), count)
        began = time.perf_counter()
        while shard := list(islice(passages, SHARD)):
            side(shard)
        seconds = time.perf_counter() - began
        found[count] = Volume(count / seconds, psutil.Process().memory_info().rss)
    return found


def gain_of_a_second_worker(texts: Sequence[Text], dtype: torch.dtype) -> float:
    """What two processes of one thread each encode in the time of one, that of one being 1."""
    alone, together = (_seconds(workers, texts, dtype) for workers in (1, 2))
    return 2 * alone / together


def _seconds(workers: int, texts: Sequence[Text], dtype: torch.dtype) -> float:
    """Until the last of so many workers has encoded all texts; all begin at once."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(workers), context.SimpleQueue()
    started = [
        context.Process(target=_work, args=(ready, results, list(texts), dtype), daemon=True)
        for _ in range(workers)
    ]
    for each in started:
        each.start()
    for each in started:
        each.join(WAIT_SECONDS)
    return max(float(results.get()) for _ in started)


def _work(
    ready: Barrier,
    results: multiprocessing.SimpleQueue[float],
    texts: Sequence[Text],
    dtype: torch.dtype,
) -> None:
    set_threads(1)
    side = next(iter(realm_sides(dtype).values()))
    side(texts[:20])
    ready.wait(WAIT_SECONDS)
    began = time.perf_counter()
    side(texts)
    results.put(time.perf_counter() - began)

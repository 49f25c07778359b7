"""Load on a server, and what became of it: a closed loop of clients, or an open loop at a rate."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from realm.errors import Overloaded, RealmError

#: Answers one question, or raises.
Ask = Callable[[str], Awaitable[object]]


@dataclass(slots=True)
class Served:
    """Seconds from when each request was due until it was answered or refused; `failed` counts
    the others by the class of their error."""

    seconds: float = 0.0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answered) / self.seconds

    async def note(self, asked: Awaitable[object], due: float) -> None:
        try:
            await asked
        except Overloaded:
            self.refused.append(time.perf_counter() - due)
        except RealmError as error:
            self.failed[type(error).__name__] += 1
        else:
            self.answered.append(time.perf_counter() - due)


async def closed(ask: Ask, questions: Sequence[str], clients: int, seconds: float) -> Served:
    """Each client asks its next question when it has its answer."""
    served = Served()
    following = itertools.cycle(questions)
    begun = time.perf_counter()

    async def client() -> None:
        while (now := time.perf_counter()) < begun + seconds:
            await served.note(ask(next(following)), now)

    await asyncio.gather(*(client() for _ in range(clients)))
    served.seconds = time.perf_counter() - begun
    return served


async def opened(ask: Ask, questions: Sequence[str], rate: float, seconds: float) -> Served:
    """Asks at a rate, whatever becomes of what was asked before."""
    served = Served(seconds)
    begun = time.perf_counter()
    asked: set[asyncio.Task[None]] = set()
    for number in range(max(1, round(rate * seconds))):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(served.note(ask(questions[number % len(questions)]), due))
        asked.add(task)
        task.add_done_callback(asked.discard)
    if asked:
        await asyncio.wait(asked)
    return served

"""Which of several equal peers is asked first, and for how long. Nothing here knows of Qdrant."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

#: A peer that failed is asked last for so long, doubled with each failure up to the limit.
FIRST_PAUSE, LAST_PAUSE = 1.0, 15.0
#: One that has lagged until its pause is as long is told of.
LAG_PAUSE = 4.0


@dataclass(slots=True)
class _Standing:
    """`pause` 0: it answered when it was asked last; `told`: whoever watches knows that not."""

    pause: float = 0.0
    until: float = 0.0
    told: bool = False


class Peers(Generic[T]):
    """Remembers who answered. Thread-safe.

    Each process has a home, drawn at random: it stays there, so that it reads what it wrote, and
    several processes spread over the peers.
    """

    def __init__(
        self,
        peers: Sequence[T],
        on_change: Callable[[T, bool], None] = lambda peer, answers: None,
        clock: Callable[[], float] = time.monotonic,
        home: int | None = None,
    ) -> None:
        """:param on_change: called with a peer, and whether it answers again or no longer."""
        self.peers = peers
        self._on_change = on_change
        self._clock = clock
        self._home = random.randrange(len(peers)) if home is None else home
        self._standings = [_Standing() for _ in peers]
        self._lock = threading.Lock()

    def order(self) -> list[int]:
        """The places of all peers: those that answer, from home on; then those that failed, the
        one whose pause ends first before the others.

        A peer whose pause is over comes first once: one caller tries it, else nobody would learn
        that it is back while home answers. The others go on without it until that caller knows.
        """
        with self._lock:
            now, count = self._clock(), len(self.peers)
            tried, answering, failed = [], [], []
            for step in range(count):
                place = (self._home + step) % count
                standing = self._standings[place]
                if not standing.pause:
                    answering.append(place)
                elif now < standing.until:
                    failed.append(place)
                else:
                    standing.until = now + standing.pause
                    tried.append(place)
            failed.sort(key=lambda place: self._standings[place].until)
            return tried + answering + failed

    def answers(self, place: int) -> bool:
        """Whether it did when it was asked last."""
        return self._standings[place].pause == 0

    def answered(self, place: int) -> None:
        with self._lock:
            standing = self._standings[place]
            returned, standing.told = standing.told, False
            standing.pause = 0.0
        if returned:
            self._on_change(self.peers[place], True)

    def failed(self, place: int, *, lags: bool = False) -> None:
        """:param lags: it answers, behind the others: no news unless that lasts."""
        with self._lock:
            standing = self._standings[place]
            standing.pause = min(LAST_PAUSE, max(FIRST_PAUSE, 2 * standing.pause))
            standing.until = self._clock() + standing.pause
            is_news = not standing.told and (not lags or standing.pause >= LAG_PAUSE)
            standing.told |= is_news
        if is_news:
            self._on_change(self.peers[place], False)


def share_of(left: float, most: float, *, others: bool) -> float:
    """How long one peer may take of the seconds that are left.

    :param most: while there are others to ask; the last one has all that is left.
    """
    return min(most, left / 2) if others else left

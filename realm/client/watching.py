"""A watch that outlives gateways and leaders: what is news, and when to connect again."""

from __future__ import annotations

from collections.abc import Callable

from realm.errors import DependencyUnavailable, NotReady, RealmError
from realm.v1 import index_pb2

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0


class Watching:
    """Both clients run their streams by it."""

    def __init__(
        self,
        seconds: float | None,
        clock: Callable[[], float],
        on_lost: Callable[[RealmError], None],
    ) -> None:
        """:param on_lost: hears of each stream that was lost and is begun again."""
        self._deadline = None if seconds is None else clock() + seconds
        self._clock = clock
        self._on_lost = on_lost
        self._last: index_pb2.IndexStatus | None = None
        self._lost = 0

    @property
    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def news(self, response: index_pb2.WatchIndexResponse) -> bool:
        """Whether the status differs from the last one: a new stream begins with the old news."""
        self._lost = 0
        before, self._last = self._last, response.status
        return before != response.status

    def lost(self, error: RealmError | None) -> float:
        """Seconds until the next stream; the deadline ends that one too.

        :param error: what ended the last one; None if the server did.
        :raises RealmError: that, if nobody answered to begin with, or it is no passing fault.
        """
        error = error or NotReady("the gateway ended the watch")
        if self._last is None or not isinstance(error, NotReady | DependencyUnavailable):
            raise error
        self._on_lost(error)
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._lost, 8))
        self._lost += 1
        left = self.left
        return pause if left is None else min(pause, left)

"""What `realm watch` has seen of the index: lag over time, swaps, refreshes by phase."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from realm.v1 import index_pb2

#: Seconds of lag that are drawn, and how many refreshes.
WINDOW_SECONDS = 900.0
REFRESHES = 8


@dataclass(slots=True)
class History:
    """Grows by `saw` and by `passed`; forgets what is older than the window. Unix times."""

    points: deque[tuple[float, float]] = field(default_factory=deque)
    swaps: deque[tuple[float, int]] = field(default_factory=deque)
    #: Seconds by phase, by generation.
    refreshes: dict[int, dict[str, float]] = field(default_factory=dict)
    #: Of the generation being built, until it is over.
    building: int = 0
    _live: int = 0

    def saw(self, status: index_pb2.IndexStatus, now: float) -> None:
        """Takes up a status."""
        if status.HasField("live"):
            live = status.live
            if self._live and live.generation != self._live:
                self.swaps.append((now, live.generation))
            self._live = live.generation
            self._add(now, live.lag.ToNanoseconds() / 1e9)
        for refresh in (status.last_refresh, status.refresh):
            if refresh.generation and refresh.phase_seconds:
                self.refreshes[refresh.generation] = dict(refresh.phase_seconds)
        self.building = status.refresh.generation
        for number in sorted(self.refreshes)[:-REFRESHES]:
            del self.refreshes[number]

    def passed(self, now: float) -> None:
        """Nothing new was heard: a lag that there was goes on growing."""
        if self.points:
            at, lag = self.points[-1]
            self._add(now, lag + (now - at) if lag else 0.0)

    def _add(self, now: float, lag: float) -> None:
        self.points.append((now, lag))
        while self.points[0][0] < now - WINDOW_SECONDS:
            self.points.popleft()
        while self.swaps and self.swaps[0][0] < self.points[0][0]:
            self.swaps.popleft()

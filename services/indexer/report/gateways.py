"""The gateways that reported lately, and what each answers with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """A gateway's word; `generation` is 0 when it has none."""

    gateway_id: str
    generation: int
    ready: bool


class GatewayReports:
    """Reports expire: a gateway that is silent for `ttl_seconds` does not count. Thread-safe."""

    def __init__(self, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl = ttl_seconds
        self._clock = clock
        self._reports: dict[str, tuple[GatewayReport, float]] = {}
        #: When a gateway first reported the generation that it answers with, in Unix time.
        self._since: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def record(self, report: GatewayReport) -> None:
        with self._lock:
            self._reports[report.gateway_id] = (report, self._clock())
            if self._since.get(report.gateway_id, (0, 0.0))[0] != report.generation:
                self._since[report.gateway_id] = (report.generation, time.time())

    def all(self) -> list[GatewayReport]:
        """Those that reported lately, by name."""
        oldest = self._clock() - self.ttl
        with self._lock:
            self._reports = {
                name: (report, at) for name, (report, at) in self._reports.items() if at >= oldest
            }
            return [report for _, (report, _) in sorted(self._reports.items())]

    def reached_at(self, generation: int) -> float | None:
        """Unix time at which the last of the ready gateways reported this generation first."""
        ready = {report.gateway_id for report in self.all() if report.ready}
        with self._lock:
            known = {name: self._since[name] for name in ready}
        return max((at for number, at in known.values() if number == generation), default=None)

    def all_serve(self, generation: int) -> bool:
        """Whether a refresh has reached every ready gateway; with no gateway at all it has."""
        reports = self.all()
        ready = [report for report in reports if report.ready]
        if not ready:
            return not reports
        return all(report.generation == generation for report in ready)

"""What faults are done to: the cluster's processes, its store, and the faults so far."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING

import psutil

from bench.chaos.phases import current_phase
from bench.cluster import BenchCluster
from realm.records.generations import Generations
from realm.records.leaders import Leaders
from realm.records.snapshots import Snapshots
from realm.records.states import State

if TYPE_CHECKING:
    from bench.chaos.faults.kinds import Fault


class Scene:
    """`faults` are those that hit something, `held` the targets of faults that still last."""

    def __init__(
        self,
        cluster: BenchCluster,
        generations: Generations,
        aim_seconds: float,
        oldest_answering: Callable[[], int],
    ) -> None:
        """:param aim_seconds: how long a fault waits for the moment that it aims at.
        :param oldest_answering: the oldest generation that a gateway last answered with.
        """
        self.cluster = cluster
        self.store = cluster.store
        self.generations = generations
        self.snapshots = Snapshots(cluster.store)
        self.aim_seconds = aim_seconds
        self.faults: list[Fault] = []
        self.held: set[str] = set()
        self._oldest_answering = oldest_answering

    def phase(self) -> str:
        return current_phase(self.store, self._oldest_answering())

    def numbers(self, states: Set[State | None]) -> list[int]:
        """Generations in one of these states."""
        found = self.generations.numbers()
        return [number for number in found if self.generations.state(number) in states]

    def names(self) -> list[str]:
        """Running processes."""
        return [each.spec.name for each in self.cluster.supervisor.processes if each.running]

    def leader(self) -> str:
        """The process that the store's newest term names; empty if none does."""
        term, cluster = Leaders(self.store).newest(), self.cluster.cluster
        names = cluster.indexer_names
        return next((n for n in names if term and cluster.address(n) == term.address), "")

    def mostly_leader(self, names: Sequence[str]) -> list[str]:
        """Names of processes, with the leader's so often that every other draw hits it."""
        leader = self.leader()
        return [*names, *[leader] * (len(names) - 2)] if leader in names else [*names]

    def family(self, name: str) -> list[psutil.Process]:
        """The process and its children; empty if it does not run."""
        for each in self.cluster.supervisor.processes:
            if each.spec.name == name and each.running and each.pid is not None:
                try:
                    process = psutil.Process(each.pid)
                    return [process, *process.children(recursive=True)]
                except psutil.Error:
                    return []
        return []

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Sends a signal to the process and its children; returns whether it was running."""
        family = self.family(name)
        for each in family:
            try:
                os.kill(each.pid, number)
            except ProcessLookupError:
                continue
        return bool(family)

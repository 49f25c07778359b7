"""Processes are cut off from others; what they say arrives late, or not until later."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from bench.apparatus.apparatus import Part
from bench.apparatus.network import Cut, Link, Network
from bench.chaos.faults.kinds import Effects, LastingFault
from realm.errors import RealmError

#: Between a target's links and how they are cut.
BY = ": "


class NetworkFault(LastingFault):
    """Targets are links, or processes that lose all of theirs, each with a way to cut them."""

    needs = Part.NETWORK
    cuts: ClassVar[tuple[Cut, ...]]

    @property
    def network(self) -> Network:
        assert self.scene.cluster.apparatus.network
        return self.scene.cluster.apparatus.network

    def links(self, what: str) -> list[Link]:
        return [link for link in self.network.links if str(link) == what]

    def choose(self, rng: random.Random) -> str:
        """Every other time one that concerns the leader."""
        found, leader = self.targets(), self.scene.leader()
        leaders = [each for each in found if self._concerns(each, leader)]
        return rng.choice(leaders if leaders and rng.random() < 0.5 else found) if found else ""

    def things(self) -> list[str]:
        return [str(link) for link in self.network.links]

    def targets(self) -> Sequence[str]:
        """No link is cut twice at a time."""
        cut = {link for held in self.scene.held if BY in held for link in self._touched(held)}
        free = [each for each in self.things() if not cut.intersection(self.links(each))]
        return [f"{thing}{BY}{cut}" for thing in free for cut in self.cuts]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        what, _, how = target.partition(BY)
        try:
            for link in self.links(what):
                self.network.cut(link, Cut(how))
        except RealmError:
            self.end(target)
            raise
        return Effects(links=frozenset(self.links(what)))

    def end(self, target: str) -> None:
        for link in self.links(target.partition(BY)[0]):
            self.network.heal(link)

    def _concerns(self, target: str, process: str) -> bool:
        links = self.links(target.partition(BY)[0])
        return any(process in (link.process, link.peer) for link in links)

    def _touched(self, held: str) -> list[Link]:
        """By a fault of any kind of this module."""
        what = held.partition(BY)[0]
        return [each for each in self.network.links if what in (str(each), each.process, each.peer)]


class Partition(NetworkFault, name="partition", weight=8, lasts=(3.0, 40.0)):
    """Two processes cannot reach each other: connections are refused, or packets vanish."""

    cuts = (Cut.REFUSED, Cut.HELD)


class OneWayPartition(NetworkFault, name="one_way_partition", weight=6, lasts=(3.0, 40.0)):
    """What one of two processes sends does not reach the other."""

    cuts = (Cut.REQUESTS_HELD, Cut.ANSWERS_HELD)


class SlowNetwork(NetworkFault, name="slow_network", weight=4, lasts=(5.0, 60.0)):
    """Between two processes everything takes long."""

    cuts = (Cut.SLOW,)

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        """What is slow arrives: no link is cut."""
        super().begin(target, rng)
        return Effects()


class Isolation(NetworkFault, name="isolation", weight=6, lasts=(3.0, 40.0)):
    """A process reaches nobody, and no other process of the cluster reaches it."""

    cuts = (Cut.REFUSED, Cut.HELD)

    def things(self) -> list[str]:
        return self.network.processes

    def links(self, what: str) -> list[Link]:
        return [link for link in self.network.links if what in (link.process, link.peer)]

    def _concerns(self, target: str, process: str) -> bool:
        return target.partition(BY)[0] == process

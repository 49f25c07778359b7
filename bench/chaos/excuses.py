"""Which failures the faults excuse: as little as can be, each for its time, and no wrong answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.apparatus.network import QDRANT, REDIS, STORE
from bench.chaos.damage import LATE_SECONDS, NEVER, Damage
from bench.chaos.faults.disks import DISK
from bench.chaos.faults.kinds import Fault
from bench.history.events import Excuse, Need
from bench.history.promises import Promise
from realm.client.wire import RECONNECT_MS
from realm.corpus.data_files import FOLDER as CORPUS

#: The longest that a refused client waits before it reconnects: its back-off and a fifth jitter.
RECONNECT_SECONDS = 1.2 * RECONNECT_MS / 1000
#: For so long requests wait for what is away: shorter outages excuse nothing.
PATIENCE_SECONDS = 20.0
INDEXER, GATEWAY = "indexer", "gateway"
#: It embeds what is written; the other embedder builds, which no request waits for.
DELTA = "embedder-delta"
#: What requests lose while a process cannot reach a peer, by the kind of process.
LOST = {
    (GATEWAY, QDRANT): (Need.INDEX, Need.LATEST),
    (GATEWAY, INDEXER): (Need.LEADER,),
    (GATEWAY, STORE): (Need.LATEST, Need.LEADER),
    (INDEXER, QDRANT): (Need.LATEST,),
    (INDEXER, REDIS): (Need.LATEST,),
    (INDEXER, STORE): (Need.LATEST, Need.LEADER),
    (DELTA, REDIS): (Need.LATEST,),
    (DELTA, STORE): (Need.LATEST,),
}
#: What they lose while a process itself does nothing. A standby takes the place of an indexer.
LOST_WITH = {
    QDRANT: (Need.INDEX, Need.LATEST),
    REDIS: (Need.LATEST,),
    DELTA: (Need.LATEST,),
    # Full: what it holds is searched.
    DISK: (Need.LATEST,),
}


@dataclass(frozen=True, slots=True)
class Excuses:
    """`gateways` are the names of processes, `ready` when each was found ready."""

    gateways: Sequence[str]
    ready: list[list[float]]

    def of(self, faults: Sequence[Fault], damages: Iterable[Damage]) -> list[Excuse]:
        return [
            *(excuse for fault in faults for excuse in self._of(fault)),
            *(excuse for damage in damages for excuse in _of_damage(damage)),
        ]

    def _of(self, fault: Fault) -> Iterator[Excuse]:
        effects = fault.effects
        for name in sorted(effects.processes):
            if name in self.gateways:
                yield from self._of_gateway(fault, self.gateways.index(name))
            else:
                yield from self._while(fault, LOST_WITH.get(_kind(name)), f"{name} was down")
        for link in sorted(effects.links, key=str):
            lost = LOST.get((_kind(link.process), _kind(link.peer)))
            yield from self._while(fault, lost, f"{link} was cut", link.process)
        for name in sorted(effects.storeless):
            lost = LOST.get((_kind(name), STORE))
            yield from self._while(fault, lost, f"{name} had no store", name)
        for name in sorted(effects.slowed):
            # A step of changes is many requests, of the leader above all.
            lost = (Need.LATEST,) if _kind(name) == INDEXER else None
            yield from self._while(fault, lost, f"{name} had a slow store", name)
        if any(path.startswith(f"{CORPUS}/") for path in effects.paths):
            # There is nothing to wait for: it is refused at once.
            ended, needs = fault.ended + LATE_SECONDS, (Need.LATEST, Need.LEADER)
            why = "the corpus table was damaged"
            yield Excuse(Promise.AVAILABLE, fault.began, ended, why, needs=needs)

    def _of_gateway(self, fault: Fault, gateway: int) -> Iterator[Excuse]:
        """Until it was ready again, and until its client had reconnected."""
        back = min((at for at in self.ready[gateway] if at > fault.ended), default=None)
        why = f"gateway {gateway} was down"
        yield Excuse(Promise.AVAILABLE, fault.began, back, why, gateway)
        if back is not None:
            why = f"the client of gateway {gateway} had not reconnected"
            yield Excuse(Promise.AVAILABLE, back, back + RECONNECT_SECONDS, why, gateway)

    def _while(
        self, fault: Fault, lost: tuple[Need, ...] | None, why: str, process: str = ""
    ) -> Iterator[Excuse]:
        """While a fault lasts that lasts long; what befalls a gateway excuses that one alone."""
        if lost is None or fault.ended - fault.began < PATIENCE_SECONDS:
            return
        gateway = self.gateways.index(process) if process in self.gateways else None
        ended = fault.ended + LATE_SECONDS
        yield Excuse(Promise.AVAILABLE, fault.began, ended, why, gateway, needs=lost)


def _of_damage(damage: Damage) -> Iterator[Excuse]:
    """A damaged generation may lack something until the damage is noticed: from then on it claims
    no corpus version. Reads may fail until another generation is live; writes are taken."""
    noticed = None if damage.noticed == NEVER else damage.noticed + LATE_SECONDS
    searched = min(damage.noticed, damage.replaced)
    until = None if searched == NEVER else searched + LATE_SECONDS
    replaced = None if damage.replaced == NEVER else damage.replaced + LATE_SECONDS
    why = f"generation {damage.generation} had lost something"
    yield Excuse(Promise.WHOLE, damage.began, until, why, generation=damage.generation)
    yield Excuse(Promise.DURABLE, damage.began, noticed, why, generation=damage.generation)
    needs = (Need.INDEX, Need.LATEST)
    yield Excuse(Promise.AVAILABLE, damage.began, replaced, why, needs=needs)


def _kind(process: str) -> str:
    """Of several processes of one kind: the kind."""
    return next((each for each in (INDEXER, GATEWAY) if process.startswith(each)), process)

"""What happens in a schedule, drawn from its seed: who is there, what operators and clients do, and
what goes wrong. It is data, so that a failing one can be shortened."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from bench.simulation.focus import FOCUSES
from bench.simulation.happenings import LEASE_SECONDS, Beginning, Event, Happening
from bench.simulation.network import Act, Trap

#: For so long things happen and go wrong; then all is mended, and must come right.
SECONDS = 7.0
#: Share of schedules that look for a rare state.
FOCUSED = 0.4
#: How often each is drawn.
WEIGHTS: dict[Event, float] = {
    Event.WRITE: 8, Event.DELETE: 5, Event.POISON: 0.4, Event.BREAK: 0.6, Event.PUBLISH: 4,
    Event.PUBLISH_POOR: 0.7, Event.ROLL_BACK: 2, Event.REFRESH: 1, Event.FORCE: 0.4,
    Event.HOUSEKEEPING: 0.6, Event.KILL_LEADER: 1.5, Event.PAUSE_LEADER: 1.5,
    Event.PAUSE_GATEWAY: 0.7, Event.RESIGN: 0.7, Event.KILL_EMBEDDER: 0.7,
    Event.PAUSE_EMBEDDER: 0.5, Event.KILL_GATEWAY: 0.5, Event.KILL_ALL: 0.3,
    Event.WIPE_REDIS: 0.6, Event.STORE_AWAY: 0.4, Event.STORE_AWAY_FROM_LEADER: 0.7,
    Event.QDRANT_AWAY: 0.5, Event.REDIS_AWAY: 0.4, Event.CLOCK_JUMPS: 0.5,
    Event.LOSE_POINTS: 0.25, Event.LOSE_COLLECTION: 0.15, Event.OLD_RELEASE: 0.2,
    Event.LONG_PAUSE: 0.15,
}  # fmt: skip
#: Kinds of calls that traps are set for, and how often.
CALLS: dict[str, float] = {
    "commit": 6, "corpus commit": 5, "corpus data": 1, "claim": 2, "beat": 1, "manifest": 2,
    "event": 4, "applied": 4, "delta": 2, "control": 1, "passages": 1, "vectors": 1.5, "delete": 2,
    "upsert": 4, "delete points": 4, "collection": 1.5, "optimise": 1, "drop": 1, "alias": 1,
    "send": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """`one_machine`: a standby sees for certain that a leader has ended. `words_first`: the first
    generation of a store that begins empty is of words alone."""

    seed: str
    beginning: Beginning
    indexers: int
    gateways: int
    embedders: int
    one_machine: bool
    embed_seconds: float
    happenings: tuple[Happening, ...]
    traps: tuple[Trap, ...]
    words_first: bool = False

    @property
    def damages(self) -> bool:
        """Whether an index may hold what its files do not say."""
        return any(
            each.event in (Event.LOSE_POINTS, Event.LOSE_COLLECTION) for each in self.happenings
        ) or any(each.act in (Act.KILL_LATE, Act.PAUSE_BEFORE) for each in self.traps)

    def parts(self) -> list[Happening | Trap]:
        return [*self.happenings, *self.traps]

    def only(self, kept: list[int]) -> Plan:
        """Of what happens and goes wrong only those, by their places in `parts`."""
        parts = self.parts()
        chosen = [parts[place] for place in kept]
        return replace(
            self,
            happenings=tuple(each for each in chosen if isinstance(each, Happening)),
            traps=tuple(each for each in chosen if isinstance(each, Trap)),
        )


def draw(seed: str) -> Plan:
    """The plan of a schedule."""
    rng = random.Random(f"plan {seed}")
    lease = rng.choice((0.5, 1.5, 3.0))
    focus = rng.choice(FOCUSES)(rng) if rng.random() < FOCUSED else None
    happenings = [
        _happening(rng, lease) for _ in range(rng.randint(*((0, 2) if focus else (1, 5))))
    ]
    traps = [
        _trap(rng, lease) for _ in range(rng.choice((0, 0, 1) if focus else (0, 0, 1, 1, 2, 3)))
    ]
    if focus:
        happenings, traps = [*happenings, *focus.happenings], [*focus.traps, *traps]
    beginning = rng.choices(list(Beginning), (1, 5, 6))[0]
    beginning = focus.beginning or beginning if focus else beginning
    if beginning is Beginning.NOTHING:
        first = (Event.PUBLISH, Event.WRITE, Event.WRITE)
        happenings += [Happening(rng.random(), each, rng.random(), lease) for each in first]
    return Plan(
        seed,
        beginning,
        rng.choice((1, 2, 2, 2, 3)),
        rng.choice((1, 1, 2)),
        rng.choice((1, 2)),
        rng.random() < 0.5,
        focus.embed_seconds if focus and focus.embed_seconds else rng.choice((0.05, 0.3, 1.0)),
        tuple(sorted(happenings, key=lambda each: each.at)),
        tuple(traps),
        words_first=rng.random() < 0.5,
    )


def _happening(rng: random.Random, lease: float) -> Happening:
    return Happening(
        rng.uniform(0, SECONDS) * (0.5 if rng.random() < 0.7 else 1.0),
        rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0],
        rng.random(),
        LEASE_SECONDS * rng.uniform(0.2, 1.0) * lease,
    )


def _trap(rng: random.Random, lease: float) -> Trap:
    return Trap(
        rng.choices(list(CALLS), list(CALLS.values()))[0],
        rng.choice((1, 1, 1, 2, 3, 5)),
        rng.choice(list(Act)),
        LEASE_SECONDS * rng.uniform(0.2, 1.0) * lease,
    )

"""What seldom comes about by chance: events and faults of which each is likely to lead to a rare
state, drawn together."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.simulation.happenings import LEASE_SECONDS, Beginning, Event, Happening
from bench.simulation.network import Act, Trap

KILLS = (Act.KILL_BEFORE, Act.KILL_AFTER, Act.KILL_LATE)
LOSES = (Act.LOSE, Act.LOSE_AND_RETRY)


@dataclass(frozen=True, slots=True)
class Focus:
    """`embed_seconds`: how long embedders take; None: any time."""

    happenings: list[Happening]
    traps: list[Trap]
    beginning: Beginning | None = None
    embed_seconds: float | None = None


def commit_of_a_deposed_leader(rng: random.Random) -> Focus:
    """It is paused, or dies, in the put of its commit; another one leads when the put arrives."""
    act = rng.choice((Act.PAUSE_BEFORE, Act.PAUSE_BEFORE, Act.KILL_LATE))
    # Its successor leads by then, and has not committed yet.
    seconds = LEASE_SECONDS * rng.uniform(1.8, 2.6)
    return Focus([_at(rng, 0, 0.5, Event.PUBLISH)], [Trap("commit", 1, act, seconds)])


def write_of_a_deposed_leader(rng: random.Random) -> Focus:
    """The same of a write, while another one leads and writes."""
    writes = [_at(rng, 0, 0.5, Event.WRITE), _at(rng, 3.5, 5.5, Event.WRITE)]
    return Focus(writes, [Trap("corpus commit", 1, Act.PAUSE_BEFORE, _for_long(rng))])


def death_in_a_build(rng: random.Random) -> Focus:
    """The leader dies at a turn of a build."""
    kind, nth = rng.choice(
        (("collection", 1), ("upsert", 2), ("optimise", 1), ("applied", 1), ("event", 2),
         ("event", 3), ("commit", 1))
    )  # fmt: skip
    return Focus([_at(rng, 0, 0.5, Event.PUBLISH)], [Trap(kind, nth, rng.choice(KILLS), 1.0)])


def deletion_of_what_is_embedded(rng: random.Random) -> Focus:
    """A document is deleted while embedders die of it."""
    poison = Happening(rng.uniform(0, 1), Event.POISON, rng.uniform(0, 0.2), 0.0)
    return Focus([poison], [], _with_live(rng), 1.0)


def rollback_of_unknown_outcome(rng: random.Random) -> Focus:
    """The put of a rollback succeeds, its answer is lost, and a write comes at that moment."""
    rollback = Happening(rng.uniform(0.5, 1.5), Event.ROLL_BACK, rng.random(), LEASE_SECONDS)
    at = rollback.at
    writes = [_at(rng, max(0, at - 1.5), at + 0.5, Event.WRITE) for _ in range(rng.choice((1, 2)))]
    traps = [Trap("commit", 1, rng.choice(LOSES), 0.2)]
    return Focus([rollback, *writes], traps, Beginning.RETAINED, 0.05)


def vectors_of_unknown_outcome(rng: random.Random) -> Focus:
    """The put of vectors of a change succeeds, and its answer is lost."""
    traps = [Trap("delta", rng.choice((1, 2, 3)), rng.choice(LOSES), 0.2)]
    return Focus([_at(rng, 0, 1, Event.WRITE)], traps, _with_live(rng))


def writes_while_gateways_flip(rng: random.Random) -> Focus:
    """An index goes live, whose models take time to load. Meanwhile both are written to, and
    gateways look at the store again and again."""
    publish = _at(rng, 0, 0.2, Event.PUBLISH)
    writes = [_at(rng, 1.0, 6.0, Event.WRITE) for _ in range(12)]
    looks = [_at(rng, 1.5, 7.0, Event.PUBLISH_POOR) for _ in range(20)]
    return Focus([publish, *writes, *looks], [], _with_live(rng), 0.6)


FOCUSES: tuple[Callable[[random.Random], Focus], ...] = (
    commit_of_a_deposed_leader,
    write_of_a_deposed_leader,
    death_in_a_build,
    deletion_of_what_is_embedded,
    rollback_of_unknown_outcome,
    vectors_of_unknown_outcome,
    writes_while_gateways_flip,
)


def _at(rng: random.Random, earliest: float, latest: float, event: Event) -> Happening:
    return Happening(rng.uniform(earliest, latest), event, rng.random(), 0.0)


def _for_long(rng: random.Random) -> float:
    """Longer than another one needs to lead."""
    return LEASE_SECONDS * rng.uniform(2.0, 4.0)


def _with_live(rng: random.Random) -> Beginning:
    return rng.choice((Beginning.LIVE, Beginning.RETAINED))

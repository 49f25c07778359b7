"""What there is when a schedule begins, and what may happen in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Silence of a leader after which another one leads.
LEASE_SECONDS = 2.5
DOCUMENTS = tuple(f"d{number}" for number in range(5))


class Beginning(StrEnum):
    """What there is when a schedule begins."""

    NOTHING = "nothing"
    LIVE = "an index is live"
    RETAINED = "one is live, one retained"


class Event(StrEnum):
    WRITE = "a client writes a document"
    DELETE = "a client deletes a document"
    POISON = "a client writes a document that kills embedders"
    BREAK = "a client writes a document whose vector is not finite"
    PUBLISH = "a snapshot is published"
    PUBLISH_POOR = "a snapshot is published that is worse"
    ROLL_BACK = "an operator rolls back"
    REFRESH = "an operator asks for a refresh"
    FORCE = "an operator forces a refresh"
    HOUSEKEEPING = "an operator asks for housekeeping"
    KILL_LEADER = "the leader is killed"
    PAUSE_LEADER = "the leader is paused"
    PAUSE_GATEWAY = "a gateway is paused"
    RESIGN = "the leader is told to stop"
    KILL_EMBEDDER = "an embedder is killed"
    PAUSE_EMBEDDER = "an embedder is paused"
    KILL_GATEWAY = "a gateway is killed"
    KILL_ALL = "every process is killed"
    WIPE_REDIS = "Redis is wiped"
    STORE_AWAY = "the store does not answer"
    STORE_AWAY_FROM_LEADER = "the store does not answer the leader"
    QDRANT_AWAY = "Qdrant does not answer"
    REDIS_AWAY = "Redis does not answer"
    CLOCK_JUMPS = "the leader's wall clock jumps"
    LOSE_POINTS = "points of live are lost"
    LOSE_COLLECTION = "the collection of live is lost"
    OLD_RELEASE = "the build is one of an earlier release"
    LONG_PAUSE = "time passes"


@dataclass(frozen=True, slots=True)
class Happening:
    """An event at a time; `which` chooses among what it may befall, `seconds` is how long it
    takes."""

    at: float
    event: Event
    which: float
    seconds: float

    def __str__(self) -> str:
        return f"at {self.at:.2f} s {self.event}"

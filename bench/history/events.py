"""What a history is made of. All times are Unix times of the machine that recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from bench.history.promises import Promise


class Kind(StrEnum):
    SEARCH = "search"
    ANSWER = "answer"
    UPSERT = "upsert"
    DELETE = "delete"
    #: A search right after a write, through another gateway, for what was written.
    FRESH = "fresh"
    #: A document by its id.
    GET = "get"


READS = frozenset({Kind.SEARCH, Kind.ANSWER})
SEARCHES = frozenset({Kind.SEARCH, Kind.FRESH})
INDEX_READS = READS | SEARCHES
WRITES = frozenset({Kind.UPSERT, Kind.DELETE})


class Outcome(StrEnum):
    OK = "ok"
    #: A read that failed, or a write that was refused: nothing was changed.
    FAILED = "failed"
    #: A write whose fate is unknown: it may take place at any later time, or never.
    MAYBE = "maybe"


class Need(StrEnum):
    """What a request cannot do without."""

    #: Searches and questions: an index that answers.
    INDEX = "index"
    #: Reads of a corpus version: an index that follows what is written.
    LATEST = "latest"
    #: Writes, and documents by their id: a leader.
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Revision:
    """A text of a document: each write of it has a number of its own; None: it is deleted."""

    document: str
    number: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A document in an answer: its version as the answer says, and the revision of its text."""

    document: str
    version: int
    revision: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The version that an answer says it comes from."""

    generation: int
    snapshot: int
    step: int
    #: 0: it claims to hold nothing for certain.
    corpus_version: int


@dataclass(frozen=True, slots=True)
class Begun:
    """`parameters` are those of the bench."""

    bench: str
    seed: int
    parameters: dict[str, Any]
    event: Literal["begun"] = "begun"


@dataclass(frozen=True, slots=True)
class Sent:
    """An operation, when it is sent.

    :param due: when it was to be sent.
    :param asked: what is written; of a read, the one document that it is meant to find.
    :param at_least: the corpus version that the answer must hold.
    :param session: whether the client carries what it saw from one gateway to another.
    """

    operation: int
    client: str
    gateway: int
    kind: Kind
    due: float
    at: float
    asked: tuple[Revision, ...] = ()
    at_least: int = 0
    session: bool = False
    event: Literal["sent"] = "sent"


@dataclass(frozen=True, slots=True)
class Done:
    """How an operation ended; there is none if the recording ended first.

    :param why: of what is not ok.
    :param version: of an acknowledged write, its corpus version.
    :param answers: how many answers a question got; None if it was none.
    :param scores: a digest of what the model made of it: scores, spans, probabilities.
    """

    operation: int
    at: float
    outcome: Outcome
    why: str = ""
    version: int = 0
    origin: Origin | None = None
    seen: tuple[Seen, ...] = ()
    answers: int | None = None
    scores: str = ""
    event: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Audited:
    """An answer that was computed again from the store; `verdict`: one_version, mixed, unknown."""

    operation: int
    verdict: str
    why: str = ""
    event: Literal["audited"] = "audited"


@dataclass(frozen=True, slots=True)
class Held:
    """All that a generation's collection held.

    :param applied: the corpus version that was applied to it before `began`.
    """

    generation: int
    applied: int
    began: float
    ended: float
    documents: tuple[Seen, ...]
    event: Literal["held"] = "held"


@dataclass(frozen=True, slots=True)
class Made:
    """A generation that there was; `live`: whether its own events say that it went live."""

    generation: int
    snapshot: int
    step: int
    live: bool = False
    event: Literal["made"] = "made"


@dataclass(frozen=True, slots=True)
class Turn:
    """What was live after what: the store's `live/`, without repetitions."""

    sequence: int
    generation: int
    at: float
    event: Literal["turn"] = "turn"


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A fault that was injected."""

    kind: str
    target: str
    began: float
    ended: float
    event: Literal["disturbed"] = "disturbed"


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why a promise need not hold for a while: AVAILABLE of requests, WHOLE of searches, DURABLE of
    collections. Nothing excuses a wrong answer.

    :param gateway: of the requests; None: of any.
    :param needs: only of requests that need one of these; None: of any.
    :param generation: of the answers; None: of any.
    :param document: what need not be found; None: any.
    """

    promise: Literal[Promise.AVAILABLE, Promise.WHOLE, Promise.DURABLE]
    began: float
    ended: float | None
    why: str
    gateway: int | None = None
    generation: int | None = None
    document: str | None = None
    needs: tuple[Need, ...] | None = None
    event: Literal["excuse"] = "excuse"

    def during(self, began: float, ended: float) -> bool:
        """Whether it overlaps with that time."""
        return self.began <= ended and (self.ended is None or began <= self.ended)


@dataclass(frozen=True, slots=True)
class Rest:
    """The load has ended: all that is read from here on is the final read-out."""

    at: float
    gateways: int
    event: Literal["rest"] = "rest"


@dataclass(frozen=True, slots=True)
class Read:
    """The final read-out has ended; `generations` were live and retained."""

    at: float
    generations: tuple[int, ...]
    event: Literal["read"] = "read"


Event = Annotated[
    Begun | Sent | Done | Audited | Held | Made | Turn | Disturbed | Excuse | Rest | Read,
    Field(discriminator="event"),
]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)

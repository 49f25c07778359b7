"""A history as it is read: operations with their ends, and what else was noted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from bench.history.events import (
    EVENTS,
    INDEX_READS,
    WRITES,
    Audited,
    Begun,
    Disturbed,
    Done,
    Event,
    Excuse,
    Held,
    Kind,
    Made,
    Need,
    Origin,
    Outcome,
    Read,
    Rest,
    Revision,
    Seen,
    Sent,
    Turn,
)
from realm.errors import Corrupt


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation from its sending to its end.

    One without an end is a `maybe` if it writes, else failed; it lasts for ever.
    """

    sent: Sent
    ended: Done

    @property
    def number(self) -> int:
        return self.sent.operation

    @property
    def kind(self) -> Kind:
        return self.sent.kind

    @property
    def gateway(self) -> int:
        return self.sent.gateway

    @property
    def outcome(self) -> Outcome:
        return self.ended.outcome

    @property
    def ok(self) -> bool:
        return self.ended.outcome is Outcome.OK

    @property
    def began(self) -> float:
        return self.sent.at

    @property
    def done(self) -> float:
        return self.ended.at

    @property
    def asked(self) -> tuple[Revision, ...]:
        return self.sent.asked

    @property
    def origin(self) -> Origin | None:
        return self.ended.origin

    @property
    def seen(self) -> tuple[Seen, ...]:
        return self.ended.seen

    @property
    def needs(self) -> frozenset[Need]:
        """What it cannot do without."""
        if self.kind not in INDEX_READS:
            return frozenset({Need.LEADER})
        return frozenset({Need.INDEX, Need.LATEST} if self.sent.at_least else {Need.INDEX})

    @property
    def latency(self) -> float:
        """From when it was due: a load generator that is late is late for its user too."""
        return self.ended.at - self.sent.due

    def __str__(self) -> str:
        asked = self.sent.asked[0].document if len(self.sent.asked) == 1 else ""
        return f"{self.kind} {self.number} {asked} of {self.sent.client} at gateway {self.gateway}"


@dataclass(frozen=True, slots=True)
class History:
    """`began` is None, and `rest` and `read` too, if the recording does not hold them."""

    operations: list[Operation] = field(default_factory=list)
    audits: list[Audited] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    made: dict[int, Made] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    disturbed: list[Disturbed] = field(default_factory=list)
    excuses: list[Excuse] = field(default_factory=list)
    began: Begun | None = None
    rest: Rest | None = None
    read: Read | None = None

    @property
    def under_load(self) -> list[Operation]:
        """Without the final read-out."""
        if self.rest is None:
            return self.operations
        return [each for each in self.operations if each.began < self.rest.at]


def read_history(file: Path) -> History:
    """:raises Corrupt: if a line is no event; a last one that was cut off is left out."""
    lines = file.read_bytes().split(b"\n")
    events: list[Event] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            events.append(EVENTS.validate_json(line))
        except ValidationError as error:
            raise Corrupt(f"{file}, line {number} is no event: {error}", file=file) from error
    return history_of(events)


def history_of(events: Iterable[Event]) -> History:
    """Operations in the order in which they were sent."""
    sent: dict[int, Sent] = {}
    done: dict[int, Done] = {}
    audits: list[Audited] = []
    held: list[Held] = []
    made: dict[int, Made] = {}
    turns: dict[int, Turn] = {}
    disturbed: list[Disturbed] = []
    excuses: list[Excuse] = []
    began, rest, read = None, None, None
    for event in events:
        match event:
            case Sent():
                sent[event.operation] = event
            case Done():
                done[event.operation] = event
            case Audited():
                audits.append(event)
            case Held():
                held.append(event)
            case Made():
                made[event.generation] = event
            case Turn():
                turns[event.sequence] = event
            case Disturbed():
                disturbed.append(event)
            case Excuse():
                excuses.append(event)
            case Begun():
                began = event
            case Rest():
                rest = event
            case Read():
                read = event
    operations = [
        Operation(each, done.get(number) or _unended(each)) for number, each in sent.items()
    ]
    operations.sort(key=lambda each: (each.began, each.number))
    in_order = [turns[sequence] for sequence in sorted(turns)]
    return History(operations, audits, held, made, in_order, disturbed, excuses, began, rest, read)


def _unended(sent: Sent) -> Done:
    outcome = Outcome.MAYBE if sent.kind in WRITES else Outcome.FAILED
    return Done(sent.operation, float("inf"), outcome, "the recording ended before it did")

"""Histories told line by line: `story.upsert("a", 1, version=3, at=(0, 1))`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.history.checker import Report, check
from bench.history.events import (
    Audited,
    Done,
    Event,
    Excuse,
    Held,
    Kind,
    Made,
    Origin,
    Outcome,
    Read,
    Rest,
    Revision,
    Seen,
    Sent,
    Turn,
)
from bench.history.history import history_of
from bench.history.promises import Promise

Times = tuple[float, float]
#: Of the generation that answers unless another is named.
FIRST = Made(1, 1, 10)


class Story:
    """One gateway and generation 1, unless a line says otherwise."""

    def __init__(self) -> None:
        self.events: list[Event] = [FIRST, Turn(1, 1, 0.0)]
        self._number = 0

    def generation(self, number: int) -> None:
        """It goes live next."""
        turns = sum(isinstance(each, Turn) for each in self.events)
        self.events += [Made(number, number, 10 * number), Turn(turns + 1, number, 0.0)]

    def upsert(self, document: str, revision: int, at: Times, version: int | None = None) -> None:
        """Without a version its fate is unknown."""
        self._write(Kind.UPSERT, Revision(document, revision), at, version)

    def delete(self, document: str, at: Times, version: int | None = None) -> None:
        self._write(Kind.DELETE, Revision(document, None), at, version)

    def search(
        self,
        document: str,
        revision: int,
        at: Times,
        *,
        claims: int,
        sees: Sequence[Seen] = (),
        **given: Any,
    ) -> int:
        """Asks for the words of a revision."""
        return self._read(Kind.SEARCH, Revision(document, revision), at, claims, sees, **given)

    def get(self, document: str, at: Times, sees: Seen | None, gateway: int = 0) -> int:
        number = self._send(Kind.GET, (Revision(document, None),), at, gateway=gateway)
        self.events.append(Done(number, at[1], Outcome.OK, seen=(sees,) if sees else ()))
        return number

    def fail(self, kind: Kind, at: Times, gateway: int = 0) -> int:
        number = self._send(kind, (), at, gateway=gateway)
        self.events.append(Done(number, at[1], Outcome.FAILED, "UNAVAILABLE"))
        return number

    def hold(self, at: Times, applied: int, *documents: Seen, generation: int = 1) -> None:
        self.events.append(Held(generation, applied, *at, documents))

    def audit(self, operation: int, verdict: str) -> None:
        self.events.append(Audited(operation, verdict))

    def excuse(self, excuse: Excuse) -> None:
        self.events.append(excuse)

    def end(self, at: float, *found: Seen, gone: Sequence[str] = ()) -> Report:
        """A final read-out that finds these documents, and others not; then the check."""
        newest = max((e.version for e in self.events if isinstance(e, Done)), default=0)
        self.events.append(Rest(at, 1))
        for each in found:
            self.get(each.document, (at, at + 1), each)
        for document in gone:
            self.get(document, (at, at + 1), None)
        self.hold((at + 1, at + 2), newest, *found)
        self.events.append(Read(at + 3, (1,)))
        return self.check()

    def check(self) -> Report:
        return check(history_of(self.events))

    def _write(self, kind: Kind, written: Revision, at: Times, version: int | None) -> None:
        number = self._send(kind, (written,), at)
        if version is None:
            self.excuse(Excuse(Promise.AVAILABLE, *at, "the gateway was down"))
            self.events.append(Done(number, at[1], Outcome.MAYBE, "DEADLINE_PASSED"))
        else:
            self.events.append(Done(number, at[1], Outcome.OK, version=version))

    def _read(
        self,
        kind: Kind,
        asked: Revision,
        at: Times,
        claims: int,
        sees: Sequence[Seen],
        *,
        made: Made = FIRST,
        at_least: int = 0,
        client: str = "client",
        gateway: int = 0,
        session: bool = False,
        answers: int | None = None,
    ) -> int:
        number = self._send(
            kind, (asked,), at, at_least=at_least, client=client, gateway=gateway, session=session
        )
        origin = Origin(made.generation, made.snapshot, made.step, claims)
        self.events.append(
            Done(number, at[1], Outcome.OK, origin=origin, seen=tuple(sees), answers=answers)
        )
        return number

    def ask(self, document: str, at: Times, *, claims: int, answers: int) -> int:
        return self._read(Kind.ANSWER, Revision(document, 0), at, claims, (), answers=answers)

    def _send(
        self,
        kind: Kind,
        asked: tuple[Revision, ...],
        at: Times,
        *,
        at_least: int = 0,
        client: str = "client",
        gateway: int = 0,
        session: bool = False,
    ) -> int:
        self._number += 1
        self.events.append(
            Sent(self._number, client, gateway, kind, at[0], at[0], asked, at_least, session)
        )
        return self._number


def broken(report: Report) -> list[Promise]:
    """Which promises, each once."""
    return sorted({each.promise for each in report.violations})

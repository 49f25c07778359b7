"""Writes each event down when it happens: whatever ends the run, the history up to it is there."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.documents import REVISION
from bench.history.events import (
    EVENTS,
    WRITES,
    Done,
    Event,
    Kind,
    Origin,
    Outcome,
    Revision,
    Seen,
    Sent,
)
from realm.errors import FailedPrecondition, InvalidInput, RealmError, RequestIdReused, Unsupported
from realm.v1.types_pb2 import IndexVersion, Passage

#: Nothing was written, for certain.
REFUSALS = (InvalidInput, RequestIdReused, FailedPrecondition, Unsupported)


class Answered:
    """Takes what came back for one operation."""

    def __init__(self) -> None:
        self.version = 0
        self.origin: Origin | None = None
        self.seen: tuple[Seen, ...] = ()
        self.answers: int | None = None
        self.scores = ""

    def index(self, version: IndexVersion, passages: Iterable[Passage]) -> None:
        """What an index answered."""
        self.origin = Origin(
            version.generation, version.snapshot, version.step, version.corpus_version
        )
        found = (
            Seen(each.document_id, each.document_version, revision_of(each.metadata))
            for each in passages
        )
        self.seen = tuple(dict.fromkeys(found))


def revision_of(metadata: Mapping[str, str]) -> int:
    """-1 for a text that no bench wrote."""
    return int(metadata.get(REVISION, -1))


class Recorder:
    """`with Recorder(file) as recorder:`; appends to the file. Safe for many threads."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        #: The generation that each gateway answered with last.
        self.answering: dict[int, int] = {}
        self._lines = file.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def record(self, event: Event) -> None:
        line = EVENTS.dump_json(event) + b"\n"
        with self._lock:
            self._lines.write(line)

    @contextmanager
    def operation(
        self,
        client: str,
        gateway: int,
        kind: Kind,
        asked: Sequence[Revision] = (),
        *,
        at_least: int = 0,
        due: float | None = None,
        session: bool = False,
    ) -> Iterator[tuple[int, Answered]]:
        """Records the call in its body, which puts into `Answered` what came back.

        :raises RealmError: what the call raised, recorded.
        """
        number, now, answered = next(self._numbers), time.time(), Answered()
        self.record(
            Sent(
                number, client, gateway, kind, now if due is None else due, now, tuple(asked),
                at_least, session,
            )
        )  # fmt: skip
        try:
            yield number, answered
        except RealmError as error:
            unknown = kind in WRITES and not isinstance(error, REFUSALS)
            outcome = Outcome.MAYBE if unknown else Outcome.FAILED
            self.record(Done(number, time.time(), outcome, f"{error.reason}: {error}"))
            raise
        if answered.origin is not None:
            self.answering[gateway] = answered.origin.generation
        self.record(
            Done(
                number, time.time(), Outcome.OK, "", answered.version, answered.origin,
                answered.seen, answered.answers, answered.scores,
            )
        )  # fmt: skip

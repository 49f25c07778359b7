"""What is recorded is there at once, and reads back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.history.events import (
    Audited,
    Begun,
    Disturbed,
    Event,
    Excuse,
    Held,
    Kind,
    Outcome,
    Read,
    Rest,
    Revision,
    Seen,
)
from bench.history.history import read_history
from bench.history.promises import Promise
from bench.history.recorder import Recorder
from realm.errors import Corrupt, DeadlinePassed, InvalidInput, RealmError
from realm.v1.types_pb2 import IndexVersion, Passage

A = Revision("a", 0)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "runs" / "history.jsonl") as made:
        yield made


def test_an_operation_is_there_with_what_came_back(recorder: Recorder) -> None:
    version = IndexVersion(generation=3, snapshot=2, step=20, corpus_version=7)
    passages = [
        Passage(document_id="a", document_version=5, metadata={"revision": "1"}),
        Passage(document_id="a", document_version=5, metadata={"revision": "1"}, ordinal=1),
        Passage(document_id="b", document_version=6),
    ]
    with recorder.operation("client", 1, Kind.SEARCH, [A], at_least=4, due=1.5) as (_, answered):
        answered.index(version, passages)
    (found,) = read_history(recorder.file).operations
    assert found.ok
    assert found.seen == (Seen("a", 5, 1), Seen("b", 6, -1))
    assert found.origin is not None
    assert (found.origin.generation, found.origin.corpus_version) == (3, 7)
    assert (found.sent.client, found.gateway, found.asked) == ("client", 1, (A,))
    assert (found.sent.at_least, found.sent.due) == (4, 1.5)
    assert recorder.answering == {1: 3}


@pytest.mark.parametrize(
    ("kind", "error", "outcome"),
    [
        (Kind.UPSERT, DeadlinePassed("late"), Outcome.MAYBE),
        (Kind.DELETE, RealmError("broken connection"), Outcome.MAYBE),
        (Kind.UPSERT, InvalidInput("no text"), Outcome.FAILED),
        (Kind.SEARCH, DeadlinePassed("late"), Outcome.FAILED),
    ],
)
def test_a_failed_write_may_take_place_unless_it_was_refused(
    recorder: Recorder, kind: Kind, error: RealmError, outcome: Outcome
) -> None:
    with pytest.raises(type(error)), recorder.operation("client", 0, kind, [A]):
        raise error
    (found,) = read_history(recorder.file).operations
    assert found.outcome is outcome
    assert error.message in found.ended.why


def test_what_a_crash_cut_off_may_have_taken_place(recorder: Recorder) -> None:
    with pytest.raises(KeyboardInterrupt), recorder.operation("client", 0, Kind.UPSERT, [A]):
        raise KeyboardInterrupt
    with recorder.file.open("ab") as file:
        file.write(b'{"event": "done", "operat')
    (found,) = read_history(recorder.file).operations
    assert found.outcome is Outcome.MAYBE
    assert found.done == float("inf")


def test_every_event_reads_back_as_it_was(recorder: Recorder) -> None:
    events: list[Event] = [
        Begun("swap", 7, {"minutes": 1.0}),
        Audited(3, "mixed", "p(y|z,x) 0.1: 0.2"),
        Held(1, 5, 2.0, 3.0, (Seen("a", 5, 0),)),
        Disturbed("kill", "gateway", 1.0, 1.0),
        Excuse(Promise.WHOLE, 1.0, None, "lost points", generation=1),
        Rest(8.0, 2),
        Read(9.0, (1, 2)),
    ]
    for each in events:
        recorder.record(each)
    found = read_history(recorder.file)
    assert [
        *(found.began, *found.audits, *found.held, *found.disturbed, *found.excuses),
        *(found.rest, found.read),
    ] == events


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"event": "rest", "at": 1.0, "gateways": 1}\n{"event": "unknown"}\n')
    with pytest.raises(Corrupt, match="line 2"):
        read_history(file)

from __future__ import annotations

from collections.abc import Callable

from realm.records.generations import Generations
from realm.records.recorded_questions import Bounds, RecordedQuestion, RecordedQuestions
from realm.records.store import Store
from services.indexer.report.recording import WINDOW_SECONDS, QuestionRecorder
from tests.unit.indexer.examples import generation

DAY = 86_400.0
BOUNDS = Bounds(1440, DAY)  # ten a window


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def questions(count: int, clock: Callable[[], float], snapshot: int = 1) -> list[RecordedQuestion]:
    return [
        RecordedQuestion(f"who {snapshot} {n}?", f"d{n}", snapshot, clock()) for n in range(count)
    ]


def test_of_what_is_heard_each_window_writes_its_share(store: Store) -> None:
    clock = Clock()
    recorder = QuestionRecorder(store, BOUNDS, clock)
    for _ in range(3):
        recorder.record(questions(500, clock))
        recorder.write_when_due()
        clock.now += WINDOW_SECONDS
        recorder.write_when_due()
    assert len(store.files("recorded")) == 3
    assert len(RecordedQuestions(store).all()) == 30


def test_a_few_are_all_written_and_silence_writes_nothing(store: Store) -> None:
    clock = Clock()
    recorder = QuestionRecorder(store, BOUNDS, clock)
    recorder.record(questions(3, clock))
    for _ in range(3):
        clock.now += WINDOW_SECONDS
        recorder.write_when_due()
    assert len(store.files("recorded")) == 1
    assert len(RecordedQuestions(store).all()) == 3


def test_switched_off_nothing_is_kept_and_nothing_asked(store: Store) -> None:
    clock = Clock()
    RecordedQuestions(store).write(questions(3, clock, snapshot=9))
    recorder = QuestionRecorder(store, Bounds(0, DAY), clock)
    recorder.record(questions(3, clock))
    clock.now += 2 * WINDOW_SECONDS
    recorder.write_when_due()
    assert len(store.files("recorded")) == 1
    assert recorder.probes([generation(3, snapshot=3)]) == []


def test_what_was_heard_before_questions_were_forgotten_is_not_written(store: Store) -> None:
    clock = Clock()
    recorder = QuestionRecorder(store, BOUNDS, clock)
    recorder.write_when_due()
    recorder.record(questions(3, clock))
    RecordedQuestions(store).forget(["nobody asked this"], Generations(store))
    clock.now += WINDOW_SECONDS
    recorder.write_when_due()
    assert not store.files("recorded")
    recorder.record(questions(2, clock))
    clock.now += WINDOW_SECONDS
    recorder.write_when_due()
    assert len(RecordedQuestions(store).all()) == 2


def test_what_is_being_written_while_questions_are_forgotten_goes(store: Store) -> None:
    clock = Clock()

    def meanwhile() -> None:
        RecordedQuestions(store).forget(None, Generations(store))

    recorder = QuestionRecorder(store.guarded(meanwhile), BOUNDS, clock)
    recorder.write_when_due()
    recorder.record(questions(3, clock))
    clock.now += WINDOW_SECONDS
    recorder.write_when_due()
    assert not store.files("recorded")


def test_nobody_is_asked_what_it_answered_itself(store: Store) -> None:
    clock = Clock()
    for snapshot in (1, 2, 3, 4):
        RecordedQuestions(store).write(questions(4, clock, snapshot))
    recorder = QuestionRecorder(store, BOUNDS, clock)
    candidate, live, best = (generation(number, snapshot=number) for number in (4, 3, 1))
    asked = recorder.probes([candidate, live, best])
    assert sorted(each["question"] for each in asked) == [f"who 2 {n}?" for n in range(4)]
    assert {each["document_id"] for each in asked} == {"d0", "d1", "d2", "d3"}
    assert len(recorder.probes([candidate])) == 12

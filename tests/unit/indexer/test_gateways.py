from __future__ import annotations

from collections.abc import Callable

from realm.records.generations import Generations
from realm.records.recorded_questions import Bounds, RecordedQuestion, RecordedQuestions
from realm.records.store import Store
from services.indexer.gateways import (
    WINDOW_SECONDS,
    GatewayReport,
    GatewayReports,
    QuestionRecorder,
)
from tests.unit.indexer.examples import Clock, generation

DAY = 86_400.0
BOUNDS = Bounds(1440, DAY)  # ten a window


def test_a_refresh_has_arrived_when_every_ready_gateway_says_so() -> None:
    gateways = GatewayReports(10.0, Clock())
    gateways.record(GatewayReport("a", 2, True))
    gateways.record(GatewayReport("b", 1, True))
    gateways.record(GatewayReport("c", 0, False))
    assert not gateways.all_serve(2)
    gateways.record(GatewayReport("b", 2, True))
    assert gateways.all_serve(2)


def test_gateways_that_are_not_ready_yet_are_waited_for() -> None:
    gateways = GatewayReports(10.0, Clock())
    assert gateways.all_serve(1), "where there is no gateway nobody is waited for"
    gateways.record(GatewayReport("a", 0, False))
    assert not gateways.all_serve(1)


def test_a_silent_gateway_does_not_count() -> None:
    clock = Clock()
    gateways = GatewayReports(10.0, clock)
    gateways.record(GatewayReport("a", 1, True))
    clock.now = 6.0
    gateways.record(GatewayReport("b", 2, True))
    assert not gateways.all_serve(2)
    clock.now = 11.0
    assert gateways.all_serve(2)
    assert [report.gateway_id for report in gateways.all()] == ["b"]


def test_the_moment_of_arrival_is_that_of_the_last_gateway() -> None:
    gateways = GatewayReports(10.0, Clock())
    assert gateways.reached_at(2) is None
    gateways.record(GatewayReport("a", 2, True))
    first = gateways.reached_at(2)
    assert first is not None
    gateways.record(GatewayReport("a", 2, True))
    assert gateways.reached_at(2) == first, "saying it again is no news"
    gateways.record(GatewayReport("b", 2, True))
    last = gateways.reached_at(2)
    assert last is not None
    assert last >= first


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
    assert sorted(each.question for each in asked) == [f"who 2 {n}?" for n in range(4)]
    assert {each.document_id for each in asked} == {"d0", "d1", "d2", "d3"}
    assert len(recorder.probes([candidate])) == 12


def test_the_answer_that_a_user_was_given_is_what_readers_are_asked_for(store: Store) -> None:
    RecordedQuestions(store).write(
        [
            RecordedQuestion("who?", "d0", 1, 0.0, "Eve"),
            RecordedQuestion("where?", "d1", 1, 0.0),
        ]
    )
    recorder = QuestionRecorder(store, BOUNDS, Clock())
    asked = recorder.probes([generation(3, snapshot=3)])
    assert {(each.question, each.answers) for each in asked} == {("who?", ("Eve",)), ("where?", ())}

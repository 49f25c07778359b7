from __future__ import annotations

import random
import time
from pathlib import Path

import pyarrow as pa
import pytest

from realm.corpus.erasure import ErasureQuery, search_store
from realm.records import arrow
from realm.records.generations import Generations
from realm.records.recorded_questions import (
    SEARCHED,
    Bounds,
    RecordedQuestion,
    RecordedQuestions,
    Sample,
    probe_files,
)
from realm.records.retention import Retention
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.settings import load_settings
from tests.unit.indexer.examples import create

HOUR = 3600.0


def question(words: str, asked_at: float = 1000.0, document: str = "d") -> RecordedQuestion:
    return RecordedQuestion(words, document, 1, asked_at)


def probed(store: Store, number: int, state: State, at: float, *questions: str) -> None:
    """A generation whose gate asked users' questions, and one made of a document."""
    made = create(store, number, state, created_at=at)
    rows = [{"question": each, "document_id": "d", "source": "recorded"} for each in questions]
    rows.append({"question": "made here", "document_id": "d", "source": "held-out"})
    for name in ("probe_questions", "probes", "probes-of-00000009"):
        path = f"{made.folder}/{name}.arrow"
        arrow.write_table(store, path, pa.Table.from_pylist(rows))


def test_what_users_searched_for_is_found_among_probe_questions_too(store: Store) -> None:
    recorded = RecordedQuestions(store)
    made = create(store, 1, State.RETAINED)
    rows = [
        {"question": "who is mentioned?", "source": SEARCHED, "filter": '{"equals":{"key":"k"}}'},
        {"question": "made here", "source": "held-out", "filter": ""},
    ]
    arrow.write_table(store, f"{made.folder}/probes.arrow", pa.Table.from_pylist(rows))
    assert recorded.probed_with(1)
    assert recorded.probed_with(1, ["mentioned"])
    assert recorded.probed_with(1, ["equals"])
    assert not recorded.probed_with(1, ["made here"])
    recorded.forget(["mentioned"], Generations(store))
    assert not recorded.probed_with(1)


def test_nothing_is_recorded_unless_it_is_switched_on() -> None:
    assert Bounds.of(load_settings()).most == 0
    on = load_settings(record_questions=True, record_seconds=10 * HOUR, erase_within_seconds=HOUR)
    assert Bounds.of(on) == Bounds(2000, HOUR)


def test_questions_are_read_back_newest_file_first(store: Store) -> None:
    recorded = RecordedQuestions(store)
    recorded.write([question("one", 1000.0), question("two", 1001.5)])
    recorded.write([question("three", 2000.0)])
    assert [each.question for each in recorded.all()] == ["three", "one", "two"]
    assert recorded.all()[1] == question("one", 1000.0)


def test_a_damaged_file_is_left_out(store: Store) -> None:
    recorded = RecordedQuestions(store)
    recorded.write([question("one")])
    (path,) = store.files("recorded")
    store.write(path, store.read(path)[:-1] + b"?")
    recorded.write([question("two", 2000.0)])
    assert [each.question for each in recorded.all()] == ["two"]


def test_the_oldest_go_when_there_are_too_many_or_they_are_too_old(store: Store) -> None:
    recorded = RecordedQuestions(store)
    for hour in range(5):
        recorded.write([question(f"{hour}", hour * HOUR), question("again", hour * HOUR)])
    hours = [path.split("/")[1].split("-")[0] for path in store.files("recorded")]

    def gone(now: float, bounds: Bounds) -> list[str]:
        found = recorded.expired(now, bounds)
        return sorted(entry.path.split("/")[1].split("-")[0] for entry in found)

    now = 4 * HOUR + 1
    assert gone(now, Bounds(100, 9 * HOUR)) == []
    assert gone(now, Bounds(5, 9 * HOUR)) == hours[:3], "two files of two fit into five"
    assert gone(now, Bounds(100, 1.5 * HOUR)) == hours[:3]
    assert gone(now, Bounds(0, 9 * HOUR)) == hours, "switched off, all go"


def test_forgetting_leaves_no_trace_but_says_what_is_being_built(store: Store) -> None:
    recorded, generations = RecordedQuestions(store), Generations(store)
    recorded.write([question("where do I live?"), question("beside it")])
    recorded.write([question("who wrote this?", 2000.0)])
    probed(store, 1, State.RETAINED, 0.0, "who wrote this?")
    probed(store, 2, State.LIVE, 0.0, "where do I live?", "who wrote this?")
    before = recorded.forgotten()
    assert recorded.forget(["do I live"], generations) == []
    assert recorded.forgotten() != before
    assert search_store(store, ErasureQuery([], ["where do I live?"])) == []
    assert [each.question for each in recorded.all()] == ["who wrote this?"]
    assert len(probe_files(store, 1)) == 3
    assert not probe_files(store, 2)

    probed(store, 3, State.BUILDING, 0.0, "who wrote this?")
    assert recorded.forget(None, generations) == [3]
    assert len(probe_files(store, 3)) == 3, "its gate asks both sides the same"
    generations.record(3, State.REJECTED)
    assert recorded.forget(None, generations) == []
    assert search_store(store, ErasureQuery([], ["who wrote this?"])) == []


@pytest.mark.parametrize("texts", [None, ["where do I live?"]])
def test_a_damaged_file_may_hold_it_and_is_deleted(store: Store, texts: list[str] | None) -> None:
    recorded = RecordedQuestions(store)
    recorded.write([question("where do I live?")])
    (path,) = store.files("recorded")
    store.write(path, store.read(path)[:-1] + b"?")
    assert recorded.forget(texts, Generations(store)) == []
    assert not store.files("recorded")


def test_a_build_that_may_be_choosing_its_probes_is_told_of(store: Store) -> None:
    recorded, generations = RecordedQuestions(store), Generations(store)
    probed(store, 1, State.BUILDING, 0.0)
    for entry in probe_files(store, 1):
        store.delete(entry.path)
    recorded.write([question("where do I live?")])
    assert recorded.forget(["nobody asked this"], generations) == []
    assert recorded.forget(["do I live"], generations) == [1]
    assert recorded.forget(["do I live"], generations) == []


def test_a_question_is_forgotten_by_its_answer_too(store: Store) -> None:
    recorded, generations = RecordedQuestions(store), Generations(store)
    recorded.write([RecordedQuestion("who lives there?", "d", 1, 1000.0, "Eve Adams")])
    recorded.write([question("who wrote this?", 2000.0)])
    assert recorded.forget(["Eve"], generations) == []
    assert [each.question for each in recorded.all()] == ["who wrote this?"]


def test_a_file_of_an_earlier_release_has_no_answers_and_is_read(store: Store) -> None:
    row = {"question": "who?", "document_id": "d", "snapshot": 1, "asked_at": 5.0}
    arrow.write_table(store, "recorded/000000000005-000001-abc.arrow", pa.Table.from_pylist([row]))
    recorded = RecordedQuestions(store)
    assert recorded.all() == [RecordedQuestion("who?", "d", 1, 5.0)]
    assert recorded.forget(["else"], Generations(store)) == []
    assert recorded.all()


def test_what_was_made_of_a_document_is_not_forgotten(store: Store) -> None:
    probed(store, 1, State.LIVE, 0.0)
    assert RecordedQuestions(store).forget(None, Generations(store)) == []
    assert RecordedQuestions(store).forget(["made here"], Generations(store)) == []
    assert len(probe_files(store, 1)) == 3


def test_the_gate_s_copies_go_when_it_has_decided(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    Snapshots(store).publish(tmp_path / "model", step=1, fingerprint="f", vector_size=2)
    now = time.time()
    probed(store, 1, State.RETAINED, now)
    probed(store, 2, State.LIVE, now, "who?")
    probed(store, 3, State.BUILDING, now, "who?")
    retention = Retention(
        store, Snapshots(store), Generations(store), 900.0, recorded=Bounds(10, HOUR)
    )

    def going() -> set[str]:
        return {each.name for each in retention.plan(now) if each.kind == "recorded questions"}

    assert going() == {entry.path for entry in probe_files(store, 2)}
    Generations(store).record(3, State.ABANDONED, "before its gate")
    copies = [entry.path for number in (2, 3) for entry in probe_files(store, number)]
    assert going() == set(copies)
    for path in copies:
        store.delete(path)
    assert going() == set()


def test_a_sample_gives_each_the_same_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    monkeypatch.setattr("realm.records.recorded_questions.random.randrange", rng.randrange)
    counts = [0] * 20
    for _ in range(4000):
        sample = Sample[int](5)
        for item in range(20):
            sample.add(item)
        assert len(set(sample.items)) == 5
        for item in sample.items:
            counts[item] += 1
    # 1000 expected, 27 the standard deviation.
    assert all(860 < count < 1140 for count in counts)

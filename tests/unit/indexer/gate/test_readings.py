"""Which questions readers are asked, and how two readers compare."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.documents import is_held_out
from realm.text.questions import Question, contains_answer, f1, normalise_answer
from services.indexer.gate.probes import choose_questions
from services.indexer.gate.readings import ANSWER, NOT_READ, Reading, compare_readings

CITIES = ("Vienna", "Lisbon", "Dublin", "Warsaw", "Athens")

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def passages(numbers: range) -> pa.Table:
    rows = [
        {
            "passage_id": f"p{n}",
            "document_id": f"d{n}",
            "title": f"About {n}",
            "text": f"Nothing is told here of any place at all, however long one reads. The harbour"
            f" number {n} lies not far from the city of {CITIES[n % 5]} in the south.",
        }
        for n in numbers
    ]
    return pa.Table.from_pylist(rows)


def read(table: pa.Table) -> list[dict[str, str]]:
    return [row for row in table.to_pylist() if row["answers"]]


def test_held_out_sentences_ask_for_a_name_or_number_in_their_own_passage() -> None:
    asked = read(choose_questions([passages(range(300))], 1000))
    assert {row["document_id"] for row in asked} == {
        f"d{n}" for n in range(300) if is_held_out(f"d{n}")
    }
    for row in asked:
        (answer,) = json.loads(row["answers"])
        question = Question(row["reader_question"], (answer,))
        text = row["reader_passage"]
        assert contains_answer(text, normalise_answer(text), question)
        held = normalise_answer(row["reader_question"])
        assert f" {normalise_answer(answer)} " not in f" {held} "


def test_a_known_answer_is_read_in_the_passage_of_its_document_that_holds_it() -> None:
    known = [
        Question("which city?", ("Lisbon",), document_id="d1"),
        Question("which other?", ("Oslo",), document_id="d2"),
        Question("which one?", document_id="d3"),
    ]
    asked = choose_questions([passages(range(2)), passages(range(2, 9))], 9, known)
    assert asked.num_rows == 3, "a question without an answer is a probe of the retriever still"
    (row,) = read(asked)
    assert (row["reader_question"], row["answers"]) == ("which city?", '["Lisbon"]')
    assert row["reader_passage"] == passages(range(1, 2))["text"][0].as_py()


def test_no_more_are_read_than_asked_for_and_all_stay_probes() -> None:
    whole = choose_questions([passages(range(300))], 1000)
    few = choose_questions([passages(range(300))], 1000, readings=3)
    assert len(read(whole)) > 3
    assert read(few) == read(whole)[:3]
    assert few.select(["question", "passage"]).equals(whole.select(["question", "passage"]))
    assert not read(choose_questions([passages(range(300))], 1000, readings=0))


def probes(answers: list[str], said: list[str] | None) -> pa.Table:
    rows = [NOT_READ | {"answers": each and json.dumps([each])} for each in answers]
    table = pa.Table.from_pylist(rows)
    return table if said is None else table.append_column(ANSWER, pa.array(said))


def test_a_reading_counts_the_questions_that_were_read() -> None:
    found = Reading.of(probes(["Eve", "the red house", ""], ["eve!", "red", ""]))
    assert found is not None
    assert found.exact == (True, False)
    assert found.f1 == (1.0, f1("red", ["the red house"]))
    assert found.em == 0.5
    assert found.mean_f1 == pytest.approx(5 / 6)


def test_what_nobody_read_is_no_reading() -> None:
    assert Reading.of(probes(["Eve"], None)) is None
    assert Reading.of(probes([""], [""])) is None


def of_scores(found: list[float]) -> Reading:
    return Reading(tuple(each == 1.0 for each in found), tuple(found))


@given(scores)
def test_comparison_of_readers_is_antisymmetric(pairs: list[tuple[float, float]]) -> None:
    mine, theirs = (of_scores([pair[side] for pair in pairs]) for side in (0, 1))
    assert compare_readings(mine, theirs).fall == pytest.approx(
        -compare_readings(theirs, mine).fall
    )
    assert not compare_readings(mine, mine).refused(0.0)


def test_only_a_large_and_significant_fall_of_f1_is_refused() -> None:
    good = of_scores([1.0] * 100)
    assert compare_readings(of_scores([0.5] * 10 + [1.0] * 90), good).refused(0.02)
    assert not compare_readings(of_scores([0.5] * 10 + [1.0] * 90), good).refused(0.1)
    assert not compare_readings(of_scores([0.0] * 4), of_scores([1.0] * 4)).refused(0.02)

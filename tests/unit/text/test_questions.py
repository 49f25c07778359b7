from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import InvalidInput
from realm.text.questions import (
    Question,
    asks_yes_or_no,
    contains_answer,
    exact_match,
    f1,
    is_exact_match,
    normalise_answer,
    read_questions,
)

GOOD = {"id": "1", "question": "who ran?", "answers": ["a fox"], "document_id": "d1"}


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def test_answers_patterns_and_documents_are_read(tmp_path: Path) -> None:
    pattern = {"question": "how hot?", "answer_pattern": "^5,?778\\s*k"}
    only_document = {"question": "where?", "document_id": "d2", "note": "ignored"}
    first, second, third = read_questions(written(tmp_path, GOOD, pattern, only_document))
    assert (first.question, first.answers, first.document_id) == ("who ran?", ("a fox",), "d1")
    assert second.answer_pattern is not None
    assert second.answer_pattern.search("about\n5778 K")
    assert third.document_id == "d2"
    assert not third.has_answer


def test_limit_takes_the_first_and_reads_no_further(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, GOOD)
    path.write_text(path.read_text() + "no json\n")
    assert len(read_questions(path, limit=2)) == 2


def test_blank_lines_and_a_byte_order_mark_are_no_questions(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\n\n  \n")
    assert len(read_questions(path)) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "Invalid JSON"),
        ('"text"', "should be an object"),
        ('{"answers": ["x"]}', "question: Field required"),
        ('{"question": " ", "answers": ["x"]}', "question: .*not blank"),
        ('{"question": "q"}', "no answers"),
        ('{"question": "q", "answers": []}', "answers: .*at least 1"),
        ('{"question": "q", "answers": "x"}', "answers: .*valid array"),
        ('{"question": "q", "answers": [1]}', "answers: 0: .*valid string"),
        ('{"question": "q", "answer_pattern": "("}', "regular expression"),
        ('{"question": "q", "answers": ["x"], "document_id": 5}', "document_id: .*valid string"),
    ],
)
def test_unusable_line_is_named_by_file_and_number(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    with pytest.raises(InvalidInput, match=says) as raised:
        read_questions(path)
    assert f"{path}:2" in raised.value.message


def test_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(InvalidInput, match="unicode"):
        read_questions(path)


def test_missing_and_empty_files_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_questions(tmp_path / "absent.jsonl")
    with pytest.raises(InvalidInput, match="has no questions"):
        read_questions(written(tmp_path))


@pytest.mark.parametrize(
    ("text", "answers", "holds"),
    [
        ("It was the Amazonia, they say.", ["amazonia"], True),
        ("In 2010 it rained.", ["10"], False),
        ("In 10 years it rained.", ["10"], True),
        ("someone came", ["one"], False),
        ("no one came, but one", ["one"], True),
        ("a man", ["The Man"], True),
        ("nothing", ["the"], False),
        ("nothing", ["other", "Nothing!"], True),
        ("他住在北京市中心", ["北京"], True),
        ("ولد في برلين عام", ["برلين"], True),
    ],
)
def test_answers_are_whole_words_after_normalisation(
    text: str, answers: list[str], holds: bool
) -> None:
    question = Question("?", tuple(answers))
    assert contains_answer(text, normalise_answer(text), question) is holds


def test_pattern_is_searched_in_the_text_itself() -> None:
    question = Question("?", answer_pattern=re.compile(r"^5,778\s*K", re.MULTILINE))
    assert contains_answer("hot:\n5,778 K", "", question)
    assert not contains_answer("hot: 5,778 K", "", question)


def test_exact_match_by_text_or_by_expression() -> None:
    assert is_exact_match(Question("q", ("The Fox",)), "fox")
    assert not is_exact_match(Question("q", ("The Fox",)), "fox ran")
    by_expression = Question("q", answer_pattern=re.compile("fox", re.IGNORECASE))
    assert is_exact_match(by_expression, "Fox ran")
    assert not is_exact_match(by_expression, "a fox")


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  a  cat's   an hour ", "cats hour"),
        ("U.S.A.", "usa"),
        ("theory", "theory"),
        ("the", ""),
        ("Älteste Straße", "älteste straße"),
    ],
)
def test_normalisation(text: str, normalised: str) -> None:
    assert normalise_answer(text) == normalised


@given(st.text())
def test_case_does_not_matter_and_spaces_are_single(text: str) -> None:
    found = normalise_answer(text)
    assert found == " ".join(found.split())
    assert normalise_answer(f"  {text}\n") == found


def test_exact_match_takes_any_of_the_answers() -> None:
    assert exact_match("The Seine", ["Thames", "seine."])
    assert not exact_match("Seine", ["the Seine river"])
    assert not exact_match("Seine", [])


def test_f1_is_the_best_overlap() -> None:
    assert f1("the Seine river", ["river Thames", "Seine"]) == pytest.approx(2 / 3)
    assert f1("x", ["y"]) == 0
    assert f1("x x", ["x"]) == pytest.approx(2 / 3)
    assert f1("x", []) == 0


@given(st.text(), st.text())
def test_f1_is_symmetric_bounded_and_one_for_equals(left: str, right: str) -> None:
    assert f1(left, [right]) == f1(right, [left])
    assert 0 <= f1(left, [right]) <= 1
    assert f1(left, [left]) == 1


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Is the Eiffel Tower in Paris?", True),
        ("didn't he build it?", True),
        ("Hasn’t the index been refreshed?", True),
        ("Could the rainforest be lost by 2100?", True),
        ("Is the tower in Paris or in London?", False),
        ("Can you tell me who built the tower?", False),
        ("Who is the president?", False),
        ("island of the Normans", False),
        ("Is it?", False),
        ("", False),
        ("هل البرج في باريس؟", False),
    ],
)
def test_a_question_for_yes_or_no_opens_with_a_verb_and_offers_no_choice(
    question: str, asked: bool
) -> None:
    assert asks_yes_or_no(question) is asked

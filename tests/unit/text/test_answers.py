"""SQuAD's figures, and laws that they obey."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.answers import exact_match, f1, normalise_answer


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

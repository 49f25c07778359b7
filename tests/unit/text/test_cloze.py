"""A cloze question is one sentence of its passage, and the rest is the passage without it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.cloze import count_words, inverse_cloze, normalise_sentence
from realm.text.sentences import sentence_spans

TEXT = (
    "Short one. The retriever keeps learning while questions are answered. "
    "The index follows the newest snapshot of the model. Done."
)


def test_question_and_rest_make_up_the_passage() -> None:
    pairs = {inverse_cloze(TEXT, random.Random(seed)) for seed in range(20)}
    assert pairs == {
        (
            "The retriever keeps learning while questions are answered.",
            "Short one. The index follows the newest snapshot of the model. Done.",
        ),
        (
            "The index follows the newest snapshot of the model.",
            "Short one. The retriever keeps learning while questions are answered. Done.",
        ),
    }


def test_the_same_seed_gives_the_same_question() -> None:
    assert inverse_cloze(TEXT, random.Random(3)) == inverse_cloze(TEXT, random.Random(3))


@pytest.mark.parametrize(
    "text",
    ["", "Too short. Also this.", "Only one sentence is in this whole passage here."],
)
def test_without_a_fitting_sentence_there_is_no_question(text: str) -> None:
    assert inverse_cloze(text, random.Random(0)) is None


def test_a_sentence_beyond_the_query_length_is_not_taken() -> None:
    long = "Word" + " word" * 59 + " end."
    assert inverse_cloze(f"{long} {long}", random.Random(0)) is None
    assert inverse_cloze(f"{long} {long}", random.Random(0), max_words=61) is not None


def test_chinese_is_counted_in_characters() -> None:
    assert count_words("黑豹队 NFL 24 次。") == 6
    question = inverse_cloze("黑豹队的防守只丢了三分。好。", random.Random(0))
    assert question == ("黑豹队的防守只丢了三分。", "好。")


@given(st.text(st.sampled_from("ab. \n。中!"), max_size=200), st.integers(0, 99))
def test_nothing_but_the_question_is_lost(text: str, seed: int) -> None:
    made = inverse_cloze(text, random.Random(seed), min_words=1)
    if made is None:
        return
    question, rest = made
    assert question in [text[start:end] for start, end in sentence_spans(text)]
    assert rest
    assert sorted("".join((question + rest).split())) == sorted("".join(text.split()))


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_sentence(text)
    assert normalise_sentence(once) == once


@pytest.mark.parametrize(
    "variant",
    [
        "The  INDEX, follows!",
        "“the index follows”",
        "the\nindex – follows.",
        "ｔｈｅ index follows",
    ],
)
def test_near_duplicates_are_equal(variant: str) -> None:
    assert normalise_sentence(variant) == "the index follows"


def test_different_sentences_stay_different() -> None:
    assert normalise_sentence("the index follows") != normalise_sentence("the index followed")
    assert normalise_sentence("中文。") != normalise_sentence("日文。")

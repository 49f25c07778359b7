"""Prompts, and whole words: by word pieces alone they are those that the text shows."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import BadSettings
from realm.model.base import default_folder, read_tokenizer
from realm.model.inputs import (
    CHARACTERS_A_PIECE,
    MIN_BODY_TOKENS,
    InputBuilder,
    InputLimits,
    Prompts,
    ReaderInput,
    WordBoundaries,
)

WORDS = ("Warszawa", "unbelievably", "don't", "1987", "東京", "カタカナ語", "اللغة", "naïve", "x_y")


@functools.cache
def builder() -> tuple[InputBuilder, WordBoundaries]:
    inputs = InputBuilder(read_tokenizer(default_folder()))
    return inputs, WordBoundaries(inputs)


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), st.integers(2, 90))
def test_words_of_pieces_are_words_of_the_text(text: str, kept: int) -> None:
    inputs, words = builder()
    body = ReaderInput.build(inputs, "who?", text)
    ids, _ = inputs.tokenize(text)
    found = words.whole_words(ids, len(ids), 6)
    assert (found == body.whole_words(6)).all()
    # A body that is cut has no word where its cut is.
    some = min(kept, len(ids))
    cut = words.whole_words(ids, some, 6)
    for start, width in zip(*cut.nonzero(), strict=True):
        assert found[start, width]
        assert start + width < some


E5 = Prompts("query: ", "passage: ")


def test_prompts_stand_before_question_and_passage_and_nowhere_else() -> None:
    plain, _ = builder()
    prompted = InputBuilder(plain.tokenizer, plain.limits, E5)
    title, (body, offsets) = plain.title_ids("Paris"), plain.tokenize("The tower.")
    words = plain.tokenizer.id_to_token
    assert prompted.query("who built it?").ids == plain.query("query: who built it?").ids
    assert [words(i) for i in prompted.passage(title, body).ids] == (
        ["[CLS]", "passage", ":", "paris", "[SEP]", "the", "tower", ".", "[SEP]"]
    )
    assert prompted.tokenize("The tower.") == (body, offsets)
    question = plain.tokenize("who built it?")[0]
    assert prompted.reader(question, body) == plain.reader(question, body)


@pytest.mark.parametrize("prompts", [E5, Prompts("a b c d e f g", "a b c d e f g h i j")])
def test_a_prompt_takes_its_room_from_title_and_body(prompts: Prompts) -> None:
    limits = InputLimits(passage=24, title=16, query=16, reader=64)
    inputs = InputBuilder(builder()[0].tokenizer, limits, prompts)
    title = inputs.title_ids("a " * 40)
    assert inputs.body_budget(title) >= MIN_BODY_TOKENS
    assert len(inputs.passage(title, inputs.tokenize("b " * 40)[0])) == limits.passage
    assert len(inputs.query("b " * 40)) == limits.query


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    limits = InputLimits(passage=24, title=8, query=16, reader=64)
    for prompts in (Prompts(query="a " * 14), Prompts(passage="a " * 20)):
        with pytest.raises(BadSettings, match="leaves no room"):
            InputBuilder(builder()[0].tokenizer, limits, prompts)


def test_other_prompts_are_another_fingerprint_and_none_the_one_of_earlier_releases() -> None:
    plain, _ = builder()
    names = {
        InputBuilder(plain.tokenizer, plain.limits, each).fingerprint for each in (E5, Prompts())
    }
    assert len(names) == 2
    assert plain.fingerprint in names


def test_a_question_is_known_as_far_as_its_query_has_room() -> None:
    inputs = builder()[0]
    room = inputs.limits.query - 2
    text, query = inputs.question("b " * (room + 7))
    assert text == ("b " * room).rstrip()
    assert query == inputs.query("b " * (room + 7)) == inputs.query(text)
    assert inputs.question("b")[0] == "b"


def test_what_a_question_has_beyond_any_query_is_not_looked_at() -> None:
    inputs = builder()[0]
    blank = " " * inputs.limits.query * CHARACTERS_A_PIECE
    assert inputs.question(f"{blank}b{blank}a")[1] == inputs.query("b")

"""Whole words by word pieces alone are those that the text shows."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from realm.model.base import default_folder, read_tokenizer
from realm.model.inputs import InputBuilder, ReaderInput, WordBoundaries

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

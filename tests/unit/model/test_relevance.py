"""f(x, z) of numbers, and as a file's metadata tells it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.model.relevance import (
    DENSE_ONLY,
    Relevance,
    relevance_from,
    relevance_metadata,
)

WEIGHTS = st.floats(-100, 100)


@given(WEIGHTS, WEIGHTS, st.booleans())
def test_metadata_tells_all_of_it(scale: float, word_weight: float, coverage: bool) -> None:
    told = Relevance(scale, word_weight, coverage)
    assert relevance_from(relevance_metadata(told)) == told


def test_an_embedder_of_an_earlier_release_tells_less() -> None:
    assert relevance_from({"scale": "20.0", "word_weight": "0.5"}) == Relevance(20.0, 0.5)
    assert relevance_from({}) == DENSE_ONLY


@given(st.lists(st.floats(0, 40, width=32), min_size=1, max_size=9), st.floats(40, 90))
def test_covered_words_keep_their_order_and_never_count_more(
    scores: list[float], most: float
) -> None:
    given_ = np.array(scores, np.float32)
    found = Relevance(1.0, 1.0, coverage=True).words(given_, most)
    assert (found <= given_ * np.float32(1.0001)).all()
    order = np.argsort(given_, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert Relevance(1.0, 1.0).words(given_, most) is given_


def test_a_question_without_a_term_has_no_words() -> None:
    nothing = np.zeros(3, np.float32)
    assert Relevance(1.0, 1.0, coverage=True).words(nothing, 0.0) == pytest.approx([0.0] * 3)

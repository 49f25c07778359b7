from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.evaluation.metrics import depth_for_documents, first_rank, mean, percentile, recall
from realm.text.answers import normalise_answer
from realm.text.questions import Question, contains_answer

ranks = st.lists(st.one_of(st.none(), st.integers(1, 40)), min_size=1)


def test_recall_counts_ranks_up_to_k() -> None:
    assert recall([1, 2, 5, 6, None], 1) == 0.2
    assert recall([1, 2, 5, 6, None], 5) == 0.6
    assert recall([], 5) is None


@given(ranks, st.integers(1, 40))
def test_recall_never_falls_with_k(found: list[int | None], k: int) -> None:
    here, further = recall(found, k), recall(found, k + 1)
    assert here is not None
    assert further is not None
    assert 0 <= here <= further <= 1


def test_passages_of_one_document_take_one_rank() -> None:
    assert first_rank(["a", "a", "a", "b", "a", "c"], "b") == 2
    assert first_rank(["a", "a", "a", "b", "a", "c"], "c") == 3
    assert first_rank(["a"], "z") is None


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.integers(1, 6), st.randoms())
def test_depth_holds_so_many_documents_in_any_order(
    ids: list[str], documents: int, rng: object
) -> None:
    depth = depth_for_documents(ids, documents)
    rng.shuffle(ids)  # type: ignore[attr-defined]
    assert len(set(ids[:depth])) >= min(documents, len(set(ids)))


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


def test_figures_of_nothing_are_absent() -> None:
    assert mean([]) is None
    assert percentile([], 50) is None
    assert mean([0.0, 1.0]) == 0.5
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0

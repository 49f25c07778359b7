"""s and w are fitted to questions of known documents; few questions change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.documents import Document
from realm.evaluation.searching import PassageVectors, split_documents
from realm.evaluation.systems import System
from realm.model.relevance import Relevance
from realm.recipes.relevance import (
    LEAST_QUESTIONS,
    NOWHERE,
    fitted_relevance,
    in_other_words,
)
from realm.records.vectors import Vectors
from realm.search.bm25 import SparseVector
from realm.search.vector_index import Query
from realm.text.questions import Question

DOCUMENTS = [Document(f"d{n}", "t", f"pig{n} ran home, and cow{n} sat.") for n in range(160)]
BEGUN = Relevance(20.0, 1.0)


def asked(words: bool) -> list[Question]:
    """By a word of its own document, or of another."""
    named = [Question(f"pig{n}", document_id=f"d{n}") for n in range(160)]
    wrong = [Question(f"pig{(n + 1) % 160}", document_id=f"d{n}") for n in range(160)]
    return named if words else wrong


def vectors(right: float) -> tuple[Vectors, Vectors]:
    """Of passages and questions [160, 160]; a question's is that of its passage in part."""
    passages = np.eye(160, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, (160, 160))
    return passages, (right * passages + noise).astype(np.float32)


@pytest.mark.parametrize(("right", "words"), [(0.6, False), (0.0, True)])
def test_what_finds_the_document_weighs_more(system: System, right: float, words: bool) -> None:
    passages = split_documents(DOCUMENTS, system.inputs)
    made, queries = vectors(right)
    index = PassageVectors(passages, made)
    begun = replace(system, relevance=BEGUN)
    found = fitted_relevance(begun, index, asked(words), queries)
    if words:
        assert found.word_weight > BEGUN.word_weight
        assert found.scale < BEGUN.scale
    else:
        assert found.word_weight < 0.1
        assert found.scale > 5


def test_words_weigh_less_for_those_who_may_use_others(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = split_documents(DOCUMENTS, system.inputs)
    made, queries = vectors(0.6)
    index, begun = PassageVectors(passages, made), replace(system, relevance=BEGUN)
    found = fitted_relevance(begun, index, asked(words=True), queries)
    monkeypatch.setattr("realm.recipes.relevance.REWORDED", len(DOCUMENTS))
    as_asked = fitted_relevance(begun, index, asked(words=True), queries)
    assert found.word_weight / found.scale < as_asked.word_weight / as_asked.scale


@given(st.floats(0, 1), st.sets(st.integers(0, 9)), st.integers(0, 99))
def test_other_words_take_the_place_of_known_ones(share: float, known: set[int], seed: int) -> None:
    query = Query(np.zeros(2, np.float32), SparseVector([*range(8)], [1.0 + n for n in range(8)]))
    found = in_other_words(query, known, share, np.random.default_rng(seed)).terms
    assert found.total == query.terms.total
    told = [term for term in found.indices if term != NOWHERE]
    assert {*range(8)} - known <= {*told}
    if share == 0:
        assert told == [*range(8)]
    if share == 1:
        assert {*told} == {*range(8)} - known


def test_a_handful_of_questions_changes_nothing(system: System) -> None:
    passages = split_documents(DOCUMENTS, system.inputs)
    made, queries = vectors(0.6)
    begun = replace(system, relevance=BEGUN)
    few = asked(words=True)[: LEAST_QUESTIONS - 1]
    index = PassageVectors(passages, made)
    assert fitted_relevance(begun, index, few, queries[: len(few)]) == BEGUN
    nameless = [replace(one, document_id=None) for one in asked(words=True)]
    assert fitted_relevance(begun, index, nameless, queries) == BEGUN

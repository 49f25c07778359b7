"""Passages in training: as in the index, or a window that keeps what matters."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.documents import Document
from realm.corpus.passages import split_document
from realm.model.base import load_base
from realm.model.inputs import InputBuilder, InputLimits
from realm.objectives.candidates import Candidate, PassageWindows
from realm.text.questions import Question, contains_answer, normalise_answer, read_questions
from tests import tiny

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "squad_open"

words = st.sampled_from(
    ["the", "town", "Arden", "Belmor-on-Sea", "don't", "1987", "é", "x2", "東京"]
)
texts = st.lists(words, min_size=1, max_size=60).map(" ".join)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> InputBuilder:
    folder = tiny.write_base(tmp_path_factory.mktemp("base"))
    return InputBuilder(load_base(folder).tokenizer, tiny.LIMITS)


def candidate(inputs: InputBuilder, text: str, title: str = "") -> Candidate:
    return Candidate("p", "d", text, inputs.title_ids(title), inputs.tokenize(text)[0])


def read(inputs: InputBuilder, one: Candidate) -> str:
    """The text that a window's word pieces stand for."""
    ids, offsets = inputs.tokenize(one.text)
    size = len(one.body_ids)
    first = next(at for at in range(len(ids)) if ids[at : at + size] == one.body_ids)
    return one.text[offsets[first][0] : offsets[first + size - 1][1]]


def answers(question: Question, text: str) -> bool:
    return contains_answer(text, normalise_answer(text), question)


def test_by_default_training_reads_what_the_index_reads(inputs: InputBuilder) -> None:
    text = " ".join(f"word{n}" for n in range(200))
    for passage in split_document(Document("d", "A Title", text), 1, inputs):
        one = Candidate.of(passage)
        windows = PassageWindows(inputs)
        read = windows.encode(windows.window(one, random.Random(0)))
        assert read == inputs.passage(passage.title_ids, passage.body_ids)


@given(text=texts, at=st.integers(0, 59), length=st.integers(1, 3), tokens=st.integers(40, 96))
def test_a_window_keeps_the_answer(
    inputs: InputBuilder, text: str, at: int, length: int, tokens: int
) -> None:
    spoken = text.split()
    at %= len(spoken)
    question = Question("who?", (" ".join(spoken[at : at + length]),))
    if not normalise_answer(question.answers[0]):
        return
    holds = functools.partial(answers, question)
    whole = candidate(inputs, text)
    for seed in range(3):
        cut = PassageWindows(inputs, tokens).window_around(whole, holds, random.Random(seed))
        assert cut is not None
        assert len(inputs.passage(cut.title_ids, cut.body_ids)) <= tokens
        assert holds(read(inputs, cut))


@given(text=texts, tokens=st.integers(16, 96), title=texts)
def test_a_window_is_of_whole_words_and_never_too_long(
    inputs: InputBuilder, text: str, tokens: int, title: str
) -> None:
    whole = candidate(inputs, text, title)
    windows = PassageWindows(inputs, tokens)
    cut = windows.window(whole, random.Random(0))
    assert len(windows.encode(cut)) <= tokens
    assert cut.body_ids
    if len(cut.body_ids) < len(whole.body_ids):
        assert len(whole.title_ids) + len(whole.body_ids) + 3 > tokens


def test_windows_begin_anywhere(inputs: InputBuilder) -> None:
    whole = candidate(inputs, " ".join(["town", "river", "people", "live"] * 20))
    windows = PassageWindows(inputs, 24)
    begun = {
        read(inputs, windows.window(whole, random.Random(seed))).split()[0] for seed in range(20)
    }
    assert len(begun) == 4


def test_an_answer_longer_than_the_window_is_none(inputs: InputBuilder) -> None:
    text = "the town of the river " * 8
    question = Question("what?", (text,))
    holds = functools.partial(answers, question)
    windows = PassageWindows(inputs, 24)
    assert windows.window_around(candidate(inputs, text), holds, random.Random(0)) is None


@pytest.mark.parametrize("tokens", [96, 128, 288])
def test_no_positive_of_squad_loses_its_answer(tokens: int) -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA.name} is not beside the checkout")
    inputs = InputBuilder(load_base().tokenizer, InputLimits())
    windows = PassageWindows(inputs, tokens)
    lines = (DATA / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    documents = {row["id"]: row for row in map(json.loads, lines)}
    rng = random.Random(0)
    asked = rng.sample(read_questions(DATA / "questions.train.jsonl"), 300)
    kept = 0
    for question in asked:
        row = documents[str(question.document_id)]
        passages = split_document(Document(row["id"], row["title"], row["text"]), 1, inputs)
        holds = functools.partial(answers, question)
        for passage in passages:
            if holds(passage.text):
                cut = windows.window_around(Candidate.of(passage), holds, rng)
                assert cut is not None, question
                assert len(windows.encode(cut)) <= tokens
                assert holds(read(inputs, cut)), question
                kept += 1
    assert kept > 250

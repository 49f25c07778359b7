"""A cloze question is one sentence of its passage, and the rest is the passage without it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.objectives.sources import first_success_per_item, shuffled_sentences
from realm.text.cloze import (
    ClozeQuestion,
    cloze_questions,
    count_words,
    inverse_cloze,
    normalise_sentence,
    phrase_question,
)
from realm.text.questions import normalise_answer
from realm.text.salient_spans import RuleTagger, Span
from realm.text.sentences import sentence_spans

TEXT = (
    "Short one. The retriever keeps learning while questions are answered. "
    "The index follows the newest snapshot of the model. Done."
)
TAGGER = RuleTagger()
STORY = (
    "Marie Curie was born in the city of Warsaw. It was cold there in the winter of 1867. "
    "She moved to Paris with her sister and studied physics."
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


@pytest.mark.parametrize(
    ("sentence", "taken", "kind", "question"),
    [
        ("The bridge was built in 1894.", "1894", "date", "when The bridge was built in?"),
        ("Paris lies on the Seine!", "Paris", "name", "what lies on the Seine?"),
        (
            "About 60 percent of it is water",
            "60 percent",
            "number",
            "how many About of it is water?",
        ),
        ("他在2015年得到擒杀。", "2015年", "date", "他在 ? 得到擒杀。"),
        ("ولد في ٧ نوفمبر", "٧ نوفمبر", "date", "ولد في ?"),
    ],
)
def test_a_question_is_the_sentence_without_the_span(
    sentence: str, taken: str, kind: str, question: str
) -> None:
    start = sentence.index(taken)
    assert phrase_question(sentence, Span(start, start + len(taken), kind)) == question  # type: ignore[arg-type]


def each_question(text: str, skipped: Counter[str]) -> list[ClozeQuestion]:
    sentences = [text[start:end] for start, end in sentence_spans(text)]
    made = cloze_questions(sentences, TAGGER, random.Random(0), skipped)
    return [one for one in made if one is not None]


def one_question(text: str, seed: int, skipped: Counter[str]) -> ClozeQuestion | None:
    rng = random.Random(seed)
    tries = [shuffled_sentences(text, rng)]
    return first_success_per_item(tries, lambda each: cloze_questions(each, TAGGER, rng, skipped))[
        0
    ]


def test_every_sentence_with_a_salient_span_gives_a_question() -> None:
    skipped: Counter[str] = Counter()
    made = each_question(STORY, skipped)
    assert [one.sentence for one in made] == [STORY[a:b] for a, b in sentence_spans(STORY)]
    assert made[1].answer in ("1867", "winter of 1867")
    assert not skipped


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("they all went home after that day", "no_salient_span"),
        ("In Paris.", "sentence_length"),
        ("The <b>city</b> of Paris lies on the river.", "markup"),
        ("In Paris they say that Paris is the best of all.", "answer_in_question"),
        ("He met Johann Sebastian Bach Junior Smith", "too_little_context"),
    ],
)
def test_sentences_are_skipped_for_reasons(text: str, reason: str) -> None:
    skipped: Counter[str] = Counter()
    assert each_question(text, skipped) == []
    assert skipped == {reason: 1}


PIECES = ("Paris", "the", "in", "1987", "river", "Marie Curie", "was", "60 percent", ".", "中文")
words = st.sampled_from(PIECES)


@given(st.lists(words, max_size=30).map(" ".join), st.integers(0, 99))
def test_question_and_answer_make_up_the_sentence(text: str, seed: int) -> None:
    skipped: Counter[str] = Counter()
    made = one_question(text, seed, skipped)
    if made is None:
        assert skipped.total() == len(sentence_spans(text))
        return
    assert made.sentence in [text[start:end] for start, end in sentence_spans(text)]
    answer, question = normalise_answer(made.answer), normalise_answer(made.question)
    assert answer
    assert f" {answer} " not in f" {question} "
    spans = [made.sentence[s.start : s.end] for s in TAGGER.tag(made.sentence)]
    assert made.answer in spans

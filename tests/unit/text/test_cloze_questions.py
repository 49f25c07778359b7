"""Cloze questions: what was taken out is the answer, and nothing of the question gives it away."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.objectives.sources import first_success_per_item, shuffled_sentences
from realm.text.answers import normalise_answer
from realm.text.cloze import ClozeQuestion, cloze_questions, phrase_question
from realm.text.salient_spans import RuleTagger, Span
from realm.text.sentences import sentence_spans

TAGGER = RuleTagger()
TEXT = (
    "Marie Curie was born in the city of Warsaw. It was cold there in the winter of 1867. "
    "She moved to Paris with her sister and studied physics."
)


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
    made = each_question(TEXT, skipped)
    assert [one.sentence for one in made] == [TEXT[a:b] for a, b in sentence_spans(TEXT)]
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

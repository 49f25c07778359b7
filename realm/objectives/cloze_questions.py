"""Cloze questions: a sentence with a name, date or number taken out, which is the answer.

Pure and torch-free. The answer
counts only in another passage, one that does not hold the sentence (REALM, section 3.4; Dhingra,
Danish and Rajagopal 2018; Lewis, Denoyer and Riedel 2019).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from realm.text.answers import normalise_answer
from realm.text.inverse_cloze import count_words
from realm.text.salient_spans import Kind, Span, SpanTagger

MIN_WORDS = 6
MAX_WORDS = 32
MIN_CONTEXT_WORDS = 4  # words of the question

#: What a question opens with where letters are Latin; elsewhere a mark stands where the span was.
_QUESTION_WORDS: dict[Kind, str] = {"name": "what", "date": "when", "number": "how many"}
_GAP = "?"
#: Of markup and of tokenised corpora: no question is made of such a sentence.
_MARKUP = frozenset("<>@|{}=\\")


@dataclass(frozen=True, slots=True)
class ClozeQuestion:
    """`question` asks for `answer`, which was taken out of `sentence`."""

    sentence: str
    question: str
    answer: str
    kind: Kind


def cloze_questions(
    sentences: Sequence[str], tagger: SpanTagger, rng: random.Random, skipped: Counter[str]
) -> list[ClozeQuestion | None]:
    """One question of each sentence, its span by chance; None where it does not serve.

    `skipped` counts those, by reason. The tagger sees them all at once.
    """
    fit = [_unsuitable_reason(sentence) for sentence in sentences]
    asked = [one for one, fault in zip(sentences, fit, strict=True) if not fault]
    tagged = iter(tagger.tag_all(asked))
    found: list[ClozeQuestion | None] = []
    for sentence, fault in zip(sentences, fit, strict=True):
        made = fault or _question(sentence, next(tagged), rng)
        if isinstance(made, str):
            skipped[made] += 1
        found.append(made if isinstance(made, ClozeQuestion) else None)
    return found


def phrase_question(sentence: str, span: Span) -> str:
    """The sentence without the span, as a question for it."""
    before, after = sentence[: span.start].strip(), sentence[span.end :].strip()
    if not any("a" <= letter <= "z" for letter in sentence.lower()):
        return f"{before} {_GAP} {after}".strip()
    rest = f"{before} {after}".strip().rstrip(" .!?;:")
    return f"{_QUESTION_WORDS[span.kind]} {rest}?"


def _unsuitable_reason(sentence: str) -> str:
    """Why a sentence does not serve, whatever is salient in it."""
    if not MIN_WORDS <= count_words(sentence) <= MAX_WORDS:
        return "sentence_length"
    return "" if _MARKUP.isdisjoint(sentence) else "markup"


def _question(sentence: str, tagged: Sequence[Span], rng: random.Random) -> ClozeQuestion | str:
    """A question, or why there is none."""
    # One letter or digit alone is found anywhere.
    salient = [span for span in tagged if span.end - span.start > 1]
    if not salient:
        return "no_salient_span"
    span = rng.choice(salient)
    answer = sentence[span.start : span.end]
    left = f"{sentence[: span.start]} {sentence[span.end :]}"
    if not normalise_answer(answer):
        return "empty_answer"
    if f" {normalise_answer(answer)} " in f" {normalise_answer(left)} ":
        return "answer_in_question"
    if count_words(left) < MIN_CONTEXT_WORDS:
        return "too_little_context"
    return ClozeQuestion(sentence, phrase_question(sentence, span), answer, span.kind)

"""Questions made of sentences, without a teacher. Torch-free, so that the probe questions of the
gate are made as the training pairs are.

The inverse cloze task: a sentence asks for its passage (Lee, Chang and Toutanova 2019: ORQA,
section 4). Cloze questions: a sentence with a name, date or number taken out, which is the answer;
it counts only in another passage, one that does not hold the sentence (REALM, section 3.4; Dhingra,
Danish and Rajagopal 2018; Lewis, Denoyer and Riedel 2019).
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from realm.text.questions import normalise_answer
from realm.text.salient_spans import Kind, Span, SpanTagger
from realm.text.sentences import sentence_spans

#: Of inverse cloze: words of a sentence.
MIN_WORDS = 5
MAX_WORDS = 48  # about the 64 word pieces of an ICT query

# Scripts without white space count a word a character, as the tokenizer does.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_NOT_WORD = re.compile(r"[\W_]+")
#: Of cloze questions: words of the sentence, and of what is left of it.
LEAST_SENTENCE_WORDS = 6
MOST_SENTENCE_WORDS = 32
MIN_CONTEXT_WORDS = 4

#: What a question opens with where letters are Latin; elsewhere a mark stands where the span was.
_QUESTION_WORDS: dict[Kind, str] = {"name": "what", "date": "when", "number": "how many"}
_GAP = "?"
#: Of markup and of tokenised corpora: no question is made of such a sentence.
_MARKUP = frozenset("<>@|{}=\\")


def inverse_cloze(
    passage_text: str,
    rng: random.Random,
    *,
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
) -> tuple[str, str] | None:
    """One sentence of the passage, and the passage without it.

    The caller decides whether the rest or the whole passage is the positive (ORQA: the rest in
    90% of cases).

    :returns: None if no sentence has between `min_words` and `max_words` words (characters, in
        Chinese and Japanese), or if nothing would be left.
    """
    spans = sentence_spans(passage_text)
    fitting = [
        (start, end)
        for start, end in spans
        if min_words <= count_words(passage_text[start:end]) <= max_words
    ]
    if not fitting or len(spans) < 2:
        return None
    start, end = rng.choice(fitting)
    before, after = passage_text[:start].rstrip(), passage_text[end:].lstrip()
    return passage_text[start:end], f"{before} {after}".strip()


def count_words(text: str) -> int:
    return len(_WORD.findall(text))


def normalise_sentence(text: str) -> str:
    """The form in which near-duplicates are equal: no case, punctuation, doubled white space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORD.sub(" ", folded).strip()


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
    if not LEAST_SENTENCE_WORDS <= count_words(sentence) <= MOST_SENTENCE_WORDS:
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

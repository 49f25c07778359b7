"""The inverse cloze task on text: a sentence as question, its passage as the answer.

Torch-free, so that the probe questions of the gate are made as the training pairs are.
Lee, Chang and Toutanova 2019 (ORQA), section 4.
"""

from __future__ import annotations

import random
import re
import unicodedata

from realm.text.sentences import sentence_spans

MIN_WORDS = 5
MAX_WORDS = 48  # about the 64 word pieces of an ICT query

# Scripts without white space count a word a character, as the tokenizer does.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_NOT_WORD = re.compile(r"[\W_]+")


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

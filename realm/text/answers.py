"""Compares answers: normalisation in every script, exact match, F1.

On ASCII text it is SQuAD's official script to the letter; beyond, MLQA's (Lewis et al. 2020):
punctuation of every script goes, words of scripts without spaces are single characters.
Torch-free and process-free: gateway, trainer and `realm eval` must agree to the letter.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

# Arabic's article is a prefix: it goes where two letters or more are left of the word.
_ARTICLES = re.compile(r"\b(?:a|an|the)\b|\bال(?=\w\w)", re.UNICODE)
# Thai, Lao, Burmese, Khmer, Kana, Han: one character, one word.
_SPACELESS = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
_ALEF = dict.fromkeys("أإآٱ", "ا")
_TATWEEL = "\u0640"


class _Folding(dict[int, str]):
    """What is left of each character; found when first met."""

    def __missing__(self, code: int) -> str:
        self[code] = kept = _fold(chr(code))
        return kept


_FOLDING = _Folding()


def normalise_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces; one spelling of digits, width, alef.

    Words of scripts without spaces come out as single characters, so that the words of the result
    are what F1 counts.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    bare = _ARTICLES.sub(" ", text.lower().translate(_FOLDING))
    return " ".join((bare if bare.isascii() else _SPACELESS.sub(r" \1 ", bare)).split())


def is_spaceless(char: str) -> bool:
    """Whether the script of a character puts no space between words."""
    return _SPACELESS.match(char) is not None


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction equals one of the answers after normalisation."""
    found = normalise_answer(prediction)
    return any(found == normalise_answer(answer) for answer in answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 over words (characters, without spaces) with one of the answers, in [0, 1]."""
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def _f1(prediction: str, answer: str) -> float:
    found, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    common = (Counter(found) & Counter(wanted)).total()
    if common == 0:
        # Two answers without any word left are equal.
        return float(found == wanted)
    return 2 * common / (len(found) + len(wanted))


def _fold(char: str) -> str:
    """Character by character, so that a text's folding is that of its parts."""
    if "\uff01" <= char <= "\uff5e":  # full width
        char = chr(ord(char) - 0xFEE0).lower()
    category = unicodedata.category(char)
    if char in string.punctuation or category[0] == "P" or char == _TATWEEL:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Mn" and "\u0610" <= char <= "\u06ed":  # Arabic vowel signs
        return ""
    return _ALEF.get(char, char)

"""The terms of a text, for search by words: torch-free, the same for passages and questions.

Words in every script, folded (case, width, accents); scripts that put no space between words give
the pairs of neighbouring characters. A term is known by a 32-bit hash, which is its index in a
sparse vector, so that no vocabulary has to be kept, agreed on or grown.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache

#: Raised whenever a text gives other terms: passages cut before do not fit then.
VERSION = 1

# Thai, Lao, Myanmar, Khmer, kana, Han with its extensions.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}\\s]+")
_ASCII_WORDS = re.compile("[a-z0-9]+")
# Points and accents that a writer may leave out: Hebrew and Arabic vowels, marks above and below.
# Vowel signs of Indic scripts (class 0), their viramas (9) and the marks of kana (8) are letters.
_OPTIONAL_CLASSES = frozenset([*range(10, 37), *range(200, 256)])
_TATWEEL = "\u0640"  # only stretches a line


def count_terms(*texts: str) -> Counter[int]:
    """How often each term, by its hash, occurs in all texts together."""
    return Counter(term_hash(term) for text in texts for term in terms(text))


def terms(text: str) -> Iterator[str]:
    """The terms of a text, in order."""
    if text.isascii():
        yield from _ASCII_WORDS.findall(text.lower())
        return
    for run in _RUNS.findall(_folded(text)):
        if re.match(f"[{_SPACELESS}]", run):
            yield from _pairs(run)
        else:
            yield run


def term_hash(term: str) -> int:
    """In [0, 2³²): a checksum is the same on every machine, and spreads words well enough."""
    return zlib.crc32(term.encode())


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for at in range(len(run) - 1):
        yield run[at : at + 2]


def _folded(text: str) -> str:
    """Lower case, compatible characters alike, without what may be left out; spaces for the rest.

    Composed again at the end: a Hangul syllable is one letter, as is a kana with its mark.
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    # Casefold may bring back marks: İ is i with a dot above.
    kept = "".join(map(_folded_character, unicodedata.normalize("NFKD", plain)))
    return unicodedata.normalize("NFC", kept)


@cache
def _folded_character(character: str) -> str:
    """The character if it belongs to a word, nothing if it may be left out, else a space."""
    category = unicodedata.category(character)
    if category == "Cf" or character == _TATWEEL:
        return ""
    if category[0] == "M" and unicodedata.combining(character) in _OPTIONAL_CLASSES:
        return ""
    return character if category[0] in "LMN" else " "

"""The terms of a text, for search by words: torch-free, the same for passages and questions.

Words in every script, folded (case, width, accents); scripts that put no space between words give
the pairs of neighbouring characters. Identifiers count whole and by their parts, however they are
written: IndexStale, index_stale, index-stale and index.stale share the term of each part and that
of the whole. Neighbouring words are terms too, as pairs: they say in which order words stood. A
term is known by a 32-bit hash, which is its index in a sparse vector, so that no vocabulary has to
be kept, agreed on or grown.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

#: Raised whenever a text gives other terms: passages cut before do not fit then.
VERSION = 3
#: What a pair of a question weighs beside a word of it.
PAIR_WEIGHT = 0.35
#: Pairs share so many indexes, so that statistics of them do not grow with the corpus; a word in
#: a thousand has an index among these.
PAIR_INDEXES = 1 << 22

# Thai, Lao, Myanmar, Khmer, kana, Han with its extensions.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}\\s]+")
_SPACELESS_RUN = re.compile(f"[{_SPACELESS}]")
_ASCII_WORDS = re.compile("[a-z0-9]+")
# An identifier is ASCII and stands between what is no letter of a script with spaces.
_LETTER = f"[^\\W_{_SPACELESS}]"
# Each run is tried at its beginning alone, so time is linear in the text.
_JOINED = re.compile(
    rf"(?<!{_LETTER})(?<![A-Za-z0-9][._-])[A-Za-z0-9]++(?:[._-][A-Za-z0-9]++)+"
    # Nowhere a repeated group that may not be tried again: Python before 3.11.5 ends it wrongly.
    rf"(?![._-][A-Za-z0-9])(?!{_LETTER})"
)
_CAPITALS_INSIDE = re.compile(
    rf"(?<!{_LETTER})(?=[A-Z]*+[a-z0-9]++[A-Z]|[A-Z]{{2,}}+[a-z])[A-Za-z0-9]++(?!{_LETTER})"
)
_CAMEL_BOUNDARY = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Points and accents that a writer may leave out: Hebrew and Arabic vowels, marks above and below.
# Vowel signs of Indic scripts (class 0), their viramas (9) and the marks of kana (8) are letters.
_OPTIONAL_CLASSES = frozenset([*range(10, 37), *range(200, 256)])
_TATWEEL = "\u0640"  # only stretches a line
#: Characters remembered; whoever asks with all of Unicode does not fill the memory.
CHARACTERS_KNOWN = 1 << 14


def count_terms(*texts: str) -> Counter[int]:
    """How often each term, by its hash, occurs in all texts together, pairs among them."""
    counted = Counter(term_hash(term) for text in texts for term in terms(text))
    counted.update(pair_hash(*pair) for text in texts for pair in pairs(text))
    return counted


def question_terms(text: str) -> dict[int, float]:
    """How often each term of a question, by its hash, counts: a pair less than a word."""
    counted: dict[int, float] = {}
    for term in map(term_hash, terms(text)):
        counted[term] = counted.get(term, 0.0) + 1.0
    for pair in pairs(text):
        term = pair_hash(*pair)
        counted[term] = counted.get(term, 0.0) + PAIR_WEIGHT
    return counted


def terms(text: str) -> Iterator[str]:
    """The words of a text in order, then what its identifiers add."""
    yield from _words(text)
    yield from _of_identifiers(text if text.isascii() else _normalised(text))


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Neighbouring words in order, of scripts with spaces."""
    before = ""
    for run in _runs(text):
        word = "" if _is_spaceless(run) else run
        if before and word:
            yield before, word
        before = word


def _words(text: str) -> Iterator[str]:
    for run in _runs(text):
        if _is_spaceless(run):
            yield from _characters(run)
        else:
            yield run


def _runs(text: str) -> list[str]:
    """Words, and runs of characters of scripts without spaces, in order."""
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    return _RUNS.findall(_folded(text))


def _is_spaceless(run: str) -> bool:
    return not run.isascii() and _SPACELESS_RUN.match(run) is not None


def _of_identifiers(text: str) -> Iterator[str]:
    """Wholes of what is joined by `_`, `-` or `.`, parts of what is told apart by capitals.

    The parts of the former and the wholes of the latter are words already.
    """
    for found in _JOINED.findall(text):
        parts = re.split("[._-]", found)
        # "e.g" and "3.14" are no names of anything.
        named = "." not in found or min(map(len, parts)) > 1
        if named and not "".join(parts).isdecimal():
            yield "".join(parts).lower()
    for found in _CAPITALS_INSIDE.findall(text):
        parts = _CAMEL_BOUNDARY.split(found)
        # "iPhone", "PhD" and "TVs" are words.
        if len(parts) > 1 and min(map(len, parts)) > 1:
            yield from map(str.lower, parts)


def term_hash(term: str) -> int:
    """In [0, 2³²): a checksum is the same on every machine, and spreads words well enough."""
    return zlib.crc32(term.encode())


def pair_hash(left: str, right: str) -> int:
    """In [0, `PAIR_INDEXES`)."""
    return term_hash(f"{left} {right}") % PAIR_INDEXES


def _characters(run: str) -> Iterator[str]:
    """Pairs of neighbouring characters, or the one that there is."""
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


def _normalised(text: str) -> str:
    """Compatible characters alike, without what may be left out; case and punctuation stay."""
    plain = unicodedata.normalize("NFKD", text)
    kept = (each for each in plain if _folded_character(each) or each.isascii())
    return unicodedata.normalize("NFC", "".join(kept))


@lru_cache(CHARACTERS_KNOWN)
def _folded_character(character: str) -> str:
    """The character if it belongs to a word, nothing if it may be left out, else a space."""
    category = unicodedata.category(character)
    if category == "Cf" or character == _TATWEEL:
        return ""
    if category[0] == "M" and unicodedata.combining(character) in _OPTIONAL_CLASSES:
        return ""
    return character if category[0] in "LMN" else " "

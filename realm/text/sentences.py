"""Splits text of every script into sentences: character spans by rules, in linear time.

Rules, not a model: it runs on every write, treats all languages alike and must always give the
same spans. A newline always ends a sentence; importers unwrap hard-wrapped text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Each alternative begins with a run that it takes whole, so no run is ever scanned twice.
_BREAK = re.compile(
    r"(?P<newline>[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]++)"
    r"|(?P<stop>[.!?…。！？｡؟۔।॥።။។։‼⁇⁈⁉]++)"
    r"[\"'”’»›」』】）》〉\)\]}]*+(?:\[\d{1,4}\])*"
)
# These end a sentence without the white space that `.`, `!` and `?` need behind them.
_ALWAYS = frozenset("。！？｡؟۔।॥።။។։‼⁇⁈⁉")
_OPENING = "\"'“‘«‹(["


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A name follows these, so they never end a sentence …
_TITLES = _words(
    "mr mrs ms dr prof rev hon gen col lt sgt capt cmdr adm gov sen rep messrs mme mlle"
)
# … a number follows these …
_BEFORE_NUMBER = _words("no nos vol vols fig figs pp p ch sec eq art approx ca nr n ver")
# … and these, like initials and acronyms, may end one ("in the U.S. The …").
_ABBREVIATIONS = _words(
    "st sr jr vs cf viz approx ca est dept univ inc ltd corp bros co e.g i.e al op ed eds etc "
    "jan feb mar apr jun jul aug sept sep oct nov dec "
    "bzw z.b d.h usw u.a ggf nr bd hrsg ул г т.е т.д т.п др см рис"
)
_STARTERS = _words(
    "The A An It He She They We You This That These Those In On At However But And There When "
    "If For After Before As"
)
_WORD_BEFORE = re.compile(r"[^\s\"'“‘«(\[]*\Z")
_NEXT_WORD = re.compile(r"[^\W\d_]+")
_LOOK_BACK = 24


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Half-open character offsets of the sentences of `text`.

    Disjoint, in order, without white space at either end, and together they cover every
    character that is not white space.
    """
    spans = []
    start = 0
    for end in _ends(text):
        piece = text[start:end]
        bare = piece.strip()
        if bare:
            begin = start + len(piece) - len(piece.lstrip())
            spans.append((begin, begin + len(bare)))
        start = end
    return spans


def _ends(text: str) -> Iterator[int]:
    """Offsets at which a sentence ends, the end of the text last."""
    start = 0
    for match in _BREAK.finditer(text):
        stop = match["stop"]
        if stop is None or _ends_sentence(text, start, match.start(), stop, match.end()):
            start = match.end()
            yield start
    yield len(text)


def _ends_sentence(text: str, start: int, at: int, stop: str, end: int) -> bool:
    """Whether the stop at `at`, closing marks up to `end`, ends the sentence begun at `start`."""
    if not _ALWAYS.isdisjoint(stop):
        return True
    if end == len(text):
        return True
    if not text[end].isspace():
        return _is_east_asian(text[end]) and (
            stop[-1] in "!?" or _is_east_asian(text[max(at - 1, 0) : at])
        )
    if stop in ".…" and end == at + 1 and _is_abbreviation(text, start, at, end):
        return False
    # Lower case goes on with the sentence: "Yahoo! is", '"What?" he asked', "well ... maybe".
    return not _following(text, end)[:1].islower()


def _is_abbreviation(text: str, start: int, at: int, end: int) -> bool:
    """Whether the single stop at `at` belongs to a word, initial, acronym or list number."""
    found = _WORD_BEFORE.search(text, max(start, at - _LOOK_BACK), at)
    word = found[0] if found else ""
    lowered = word.lower()
    following = _following(text, end)
    if lowered in _TITLES or (lowered in _BEFORE_NUMBER and following[:1].isdigit()):
        return True
    begin = at - len(word)
    if word.isdigit() and begin - start < _LOOK_BACK and not text[start:begin].strip():
        return True  # "1. First item": the number and its item are one sentence
    initial = len(word) == 1 and word.isupper()
    if initial or lowered in _ABBREVIATIONS or _is_acronym(word):
        next_word = _NEXT_WORD.match(following)
        return next_word is None or next_word[0] not in _STARTERS
    return False


def _is_acronym(word: str) -> bool:
    letters = word.split(".")
    return len(letters) > 1 and all(len(part) == 1 and part.isalpha() for part in letters)


def _following(text: str, end: int) -> str:
    """The beginning of what comes next, without white space and opening marks."""
    return text[end : end + _LOOK_BACK].lstrip().lstrip(_OPENING)


def _is_east_asian(char: str) -> bool:
    return (
        "\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3" or "\uf900" <= char <= "\ufaff"
    )

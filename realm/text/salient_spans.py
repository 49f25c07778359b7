"""Salient spans: the names, dates and numbers that a masked sentence asks for.

REALM (section 3.4) masks what an entity tagger and a date expression find. The default here is
rules: no model to ship, the same in every process, and quick enough for every training batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from realm.text.sentences import sentence_spans

Kind = Literal["name", "date", "number"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters [start, end) of a text, and what they are."""

    start: int
    end: int
    kind: Kind


class SpanTagger(Protocol):
    """Whatever finds salient spans; a trained tagger replaces the rules through it."""

    def tag_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """Disjoint, non-empty spans within each text, in order."""
        ...


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:1\d|20)\d\d(?!\d|[.,]\d)"
_ERA = r"\s?(?:BCE?|AD|CE)\b"
_ARABIC_MONTH = (
    "(?:يناير|فبراير|مارس|[أا]بريل|مايو|يونيو|يوليو|[أا]غسطس|سبتمبر|[أا]كتوبر|نوفمبر|ديسمبر)"
)
_HAN = r"[\d〇零一二三四五六七八九十]"
# The longest form first: alternatives are tried in order.
_LATIN_DATES = (
    rf"{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?\b",
    rf"{_MONTH} {_DAY}(?!\d)(?:, ?{_YEAR})?",
    rf"{_MONTH},? {_YEAR}",
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?Z?)?",
    r"\d{1,2}[/.]\d{1,2}[/.]\d{4}",
    rf"\d{{1,2}}(?:st|nd|rd|th) centur(?:y|ies)(?:{_ERA})?",
    rf"\d{{1,4}}{_ERA}",
    rf"{_YEAR}(?:[–-]{_YEAR}|s\b)?",
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b",
    r"(?:January|February|April|June|July|August|September|October|November|December)\b",
    rf"\d{{1,2}}\s{_ARABIC_MONTH}(?:\s\d{{4}})?",
    rf"{_ARABIC_MONTH}\s\d{{4}}",
)
_HAN_DATES = (
    rf"{_HAN}{{2,4}}\s?年(?:\s?{_HAN}{{1,3}}\s?月(?:\s?{_HAN}{{1,3}}\s?[日号])?)?",
    rf"{_HAN}{{1,3}}\s?月(?:\s?{_HAN}{{1,3}}\s?[日号])?",
)
# A Latin date or number begins a word; a Han one may stand anywhere.
_BEGIN = r"(?<![^\W\u3040-\u9fff])(?<!\d[.,])"
_DATE = re.compile(rf"{'|'.join(_HAN_DATES)}|{_BEGIN}(?:{'|'.join(_LATIN_DATES)})")

_SCALE = r"(?:hundred|thousand|million|billion|trillion)s?\b"
_UNIT = (
    r"(?:%|percent\b|per cent\b|°[CF]?"
    r"|(?:[kcmµn]?m|[kmµ]?g|[kmGT]?Hz|[kMGT]i?B|[kMG]?W|ms|km/h|mph)[²³]?\b"
    r"|(?:(?:square|cubic|light)[ -])?(?:(?:kilo|centi|milli)?(?:met(?:er|re)|gram|lit(?:er|re))"
    r"|mile|acre|ton|tonne|pound|inche|foot|feet|yard|degree"
    r"|year|month|week|day|hour|minute|second|dollar|euro)s?\b|people\b"
    r"|[万亿萬億]?(?:美元|平方公里|公里|米|人|年|个|次|岁|分|码)|[万亿萬億])"
)
_NUMBER = re.compile(
    rf"{_BEGIN}(?:US)?[$€£¥]?[-−]?\d+(?:[,.٬٫]\d+)*[½¼¾]?(?:[ -]{_SCALE})?(?:[ -]?{_UNIT})?"
)
_CODE = re.compile(
    r"\b(?:[A-Za-z_]\w{0,60}\.){1,8}[A-Za-z_]\w{1,60}(?:\(\))?"
    r"|\b[A-Za-z]\w{0,60}\(\)|\b[A-Za-z][A-Za-z0-9]{0,60}_\w{1,60}|\b[a-z]{1,3}[A-Z]\w{1,60}"
    r"|\b__\w{1,60}__"
)
_TITLE_MARKS = re.compile(r"(?<=《)[^《》\n]{1,80}(?=》)|[\u30a1-\u30fa\u30fc・]{3,40}")
_WORD = re.compile(
    r"(?:[A-Z]\.){2,8}|\d{1,3}\b"
    r"|[^\W\d_\u3040-\u9fff](?:[^\W_]|&(?=\w)|[’'](?!s\b)(?=[^\W\d_])|[.-](?=[^\W\d_]))*"
)
# What may stand between two words of one name.
_JOINT = re.compile(r"(?:\.? |-| (?:of|of the|de|de la|del|da|der|di|du|la|le|van|van der|von|&) )")

_MAX_NAME_WORDS = 8
_FUNCTION_WORDS = _words(
    "a about above according across after against all almost along already also although always "
    "among an and another any are around as at based be because been before being below between "
    "both but by can could despite did do does due during each either even every few finally "
    "first for from further had has have having he hence her here hers his how however i if in "
    "indeed instead into is it its itself just last later least less like many may maybe me "
    "meanwhile more moreover most much must my near neither never nevertheless next no none nor "
    "not nothing now of off often on once one only or other others our out over own perhaps "
    "please rather second several shall she should similarly since so some something sometimes "
    "soon still such than that the their them then there therefore these they third this those "
    "though three through throughout thus to today together too toward two under unlike until "
    "up upon us use used using usually very was we were what when whenever where whereas "
    "whether which while who whose why will with within without would yes yet you your return "
    "returns note see example raise raises"
)
# A single word that opens a sentence and ends like this is rather a common word.
_COMMON_ENDING = re.compile(r"(?:ing|ed|ly|tions?|ments?|ness|ers|ies|ists|ants|ents|[^aious]s)$")


class RuleTagger:
    """Rules for text in any script; names need case, a title mark or Katakana to be seen."""

    def tag_all(self, texts: Sequence[str]) -> list[list[Span]]:
        return [self.tag(text) for text in texts]

    def tag(self, text: str) -> list[Span]:
        """Disjoint, non-empty spans within `text`, in order."""
        taken = bytearray(len(text))
        spans: list[Span] = []

        def take(candidates: Iterator[Span]) -> None:
            for span in candidates:
                if not any(taken[span.start : span.end]):
                    taken[span.start : span.end] = b"\1" * (span.end - span.start)
                    spans.append(span)

        take(_matches(_DATE, text, "date"))
        take(_matches(_CODE, text, "name"))
        take(_matches(_TITLE_MARKS, text, "name"))
        take(_names(text, taken))
        take(_matches(_NUMBER, text, "number"))
        return sorted(spans)


def _matches(pattern: re.Pattern[str], text: str, kind: Kind) -> Iterator[Span]:
    for match in pattern.finditer(text):
        yield Span(match.start(), match.end(), kind)


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int
    opens: bool  # is the first of its sentence

    @property
    def capitalised(self) -> bool:
        return self.text[:1].isupper() or self.text[:1].istitle()

    @property
    def is_number(self) -> bool:
        return self.text.isdigit()

    @property
    def common(self) -> bool:
        return self.text.lower() in _FUNCTION_WORDS


def _names(text: str, taken: bytearray) -> Iterator[Span]:
    """Runs of capitalised words, without the common word that merely opens a sentence."""
    words = list(_read_words(text, taken))
    inside = {word.text for word in words if word.capitalised and not word.opens}
    lower = {word.text for word in words if not word.capitalised}
    for run in _runs(text, words):
        first, last = 0, len(run)
        while first < last and run[first].common:
            first += 1
        while first < last and (run[last - 1].common or (last < 3 and run[last - 1].is_number)):
            last -= 1
        run = run[first:last]
        if not run or len(run) > _MAX_NAME_WORDS:
            continue
        if len(run) == 1 and not _is_name(run[0], inside, lower):
            continue
        yield Span(run[0].start, run[-1].end, "name")


def _is_name(word: _Word, inside: set[str], lower: set[str]) -> bool:
    if not word.opens:
        return len(word.text) > 1
    if word.text in inside or word.text[1:2].isupper():
        return True
    common = word.text.lower() in lower or _COMMON_ENDING.search(word.text)
    return len(word.text) > 2 and not common


def _read_words(text: str, taken: bytearray) -> Iterator[_Word]:
    for begin, end in sentence_spans(text):
        opens = True
        for match in _WORD.finditer(text, begin, end):
            if not any(taken[match.start() : match.end()]):
                yield _Word(match[0], match.start(), match.end(), opens)
            opens = False


def _runs(text: str, words: list[_Word]) -> Iterator[list[_Word]]:
    """Capitalised words (a small number may follow) with nothing but a joint between them."""
    run: list[_Word] = []
    for word in words:
        if not word.capitalised and not word.is_number:
            continue
        joined = run and not word.opens and _JOINT.fullmatch(text, run[-1].end, word.start)
        if not joined:
            yield run
            run = [] if word.is_number else [word]
        else:
            run.append(word)
    yield run

"""Whether a sentence that cites passages says what stands in them.

A citation holds if the passage has every number of the sentence and most of its longer words, in
any order and however they are written (`realm.text.terms`). That is no proof: a sentence may turn
what a passage says into its opposite. What it finds is a passage that is about something else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from realm.text.terms import terms

MARK = re.compile(r"\s?\[(\d{1,4})\]")
#: Of the sentence's longer words.
LEAST_SHARE = 0.5
LONG = 4


@dataclass(frozen=True, slots=True)
class Checked:
    """`text` has the citations that hold, `cited` their numbers; `dropped` are the others."""

    text: str
    cited: tuple[int, ...]
    dropped: tuple[int, ...]


def check_citations(sentence: str, passages: Sequence[str]) -> Checked:
    """`[1]` cites the first of the passages."""
    said = _said(MARK.sub("", sentence))
    cited: list[int] = []
    dropped: list[int] = []

    def kept(mark: re.Match[str]) -> str:
        number = int(mark[1])
        holds = 1 <= number <= len(passages) and supports(passages[number - 1], said)
        (cited if holds else dropped).append(number)
        return mark[0] if holds else ""

    text = MARK.sub(kept, sentence)
    return Checked(text, tuple(dict.fromkeys(cited)), tuple(dict.fromkeys(dropped)))


def supports(passage: str, said: frozenset[str]) -> bool:
    """Whether a passage has these words. Of a sentence without any it says nothing."""
    there = frozenset(terms(passage))
    numbers = {each for each in said if any(sign.isdigit() for sign in each)}
    return bool(said) and numbers <= there and len(said & there) >= LEAST_SHARE * len(said)


def _said(sentence: str) -> frozenset[str]:
    """Its longer words, numbers and parts of them among them; of scripts without spaces all."""
    return frozenset(
        each
        for each in terms(sentence)
        if len(each) >= LONG or not each.isascii() or any(sign.isdigit() for sign in each)
    )

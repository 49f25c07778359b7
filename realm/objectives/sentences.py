"""Sentences to ask by: tried one after another, those of many passages at once.

What is asked of a sentence may be the work of a model, which is quick only on many.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from realm.text.sentences import sentence_spans

T = TypeVar("T")
S = TypeVar("S")


def shuffled_sentences(text: str, rng: random.Random) -> list[str]:
    spans = sentence_spans(text)
    rng.shuffle(spans)
    return [text[start:end] for start, end in spans]


def first_success_of_each(
    tries: Sequence[Sequence[S]], make: Callable[[Sequence[S]], Sequence[T | None]]
) -> list[T | None]:
    """What `make` makes of the first of each one's tries that serves; None where none does.

    `make` is asked for the first try of all, then for the second of those without success, ….
    """
    found: list[T | None] = [None] * len(tries)
    left = [place for place, own in enumerate(tries) if own]
    turn = 0
    while left:
        made = make([tries[place][turn] for place in left])
        for place, one in zip(left, made, strict=True):
            found[place] = one
        turn += 1
        left = [place for place in left if found[place] is None and turn < len(tries[place])]
    return found

"""Which words of a sentence a masked LM hides: salient spans, and the paper's two ablations.

Whole words only, so that no piece of the answer stays visible. REALM, section 3.4 and table 2
("random uniform masks", "random span masks").
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from realm.model.inputs import InputBuilder
from realm.text.salient_spans import SpanTagger

MaskKind = Literal["salient_spans", "random_spans", "random_words"]

MIN_CONTEXT = 4  # word pieces that must be left to guess from
WORD_SHARE = 0.15  # of words, as BERT has it
#: SpanBERT (Joshi et al. 2020), section 3.1: lengths Geo(0.2), at most 10 words.
SPAN_STOP, LONGEST_SPAN = 0.2, 10


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a tokenized text: pieces [first, last) and characters [start, end)."""

    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class MaskedSentence:
    """A sentence as word pieces, some of them masked: `targets` stood at `positions`. `visible` is
    its text without them.
    """

    passage_id: str
    text: str
    ids: list[int]
    positions: list[int]
    targets: list[int]
    visible: str

    @property
    def is_span(self) -> bool:
        """The targets stood side by side: an answer that a passage may hold."""
        return self.positions[-1] - self.positions[0] + 1 == len(self.positions)


class MaskChooser(Protocol):
    """Chooses what to hide; `skip_reason` is the reason counted where nothing can be."""

    @property
    def skip_reason(self) -> str: ...

    def choose_all(
        self, texts: Sequence[str], words: Sequence[Sequence[Word]], room: int, rng: random.Random
    ) -> list[list[Word]]:
        """Of each text some of its `words`, in their order; none if it has nothing to hide.

        :param room: word pieces that the query holds.
        """
        ...


class SalientSpans:
    """One name, date or number of the sentence (REALM); discarded if the query cuts it off."""

    skip_reason = "no_salient_span"

    def __init__(self, tagger: SpanTagger) -> None:
        self._tagger = tagger

    def choose_all(
        self, texts: Sequence[str], words: Sequence[Sequence[Word]], room: int, rng: random.Random
    ) -> list[list[Word]]:
        chosen: list[list[Word]] = []
        for own, salient in zip(words, self._tagger.tag_all(texts), strict=True):
            span = rng.choice(salient) if salient else None
            chosen.append(
                [word for word in own if span and word.start < span.end and word.end > span.start]
            )
        return chosen


@dataclass(frozen=True, slots=True)
class RandomMasks:
    """Words chosen by chance, in one text after another."""

    choose: Callable[[str, Sequence[Word], random.Random], list[Word]]
    skip_reason: str = "no_word"

    def choose_all(
        self, texts: Sequence[str], words: Sequence[Sequence[Word]], room: int, rng: random.Random
    ) -> list[list[Word]]:
        return [
            self.choose(text, [word for word in own if word.last <= room], rng)
            for text, own in zip(texts, words, strict=True)
        ]


def random_span(text: str, words: Sequence[Word], rng: random.Random) -> list[Word]:
    """One run of words, of SpanBERT's lengths."""
    starts = [place for place, word in enumerate(words) if _is_word(text, word)]
    if not starts:
        return []
    length = 1
    while length < LONGEST_SPAN and rng.random() >= SPAN_STOP:
        length += 1
    start = rng.choice(starts)
    return list(words[start : start + length])


def random_words(text: str, words: Sequence[Word], rng: random.Random) -> list[Word]:
    """Each word with a chance of 15%, one at the least (BERT)."""
    seen = [word for word in words if _is_word(text, word)]
    if not seen:
        return []
    return [word for word in seen if rng.random() < WORD_SHARE] or [rng.choice(seen)]


def mask_chooser(kind: MaskKind, tagger: SpanTagger) -> MaskChooser:
    """The chooser of a setting's name."""
    if kind == "salient_spans":
        return SalientSpans(tagger)
    return RandomMasks(random_span if kind == "random_spans" else random_words)


class Masker:
    """Hides chosen words of a text behind [MASK]; `skipped` counts texts that it cannot use."""

    def __init__(self, inputs: InputBuilder, chooser: MaskChooser, skipped: Counter[str]) -> None:
        self.skipped = skipped
        self._chooser = chooser
        self._inputs = inputs
        self._continuations = continuation_ids(inputs)

    def mask(self, origin: str, text: str, rng: random.Random) -> MaskedSentence | None:
        return self.mask_all([(origin, text)], rng)[0]

    def mask_all(
        self, sentences: Sequence[tuple[str, str]], rng: random.Random
    ) -> list[MaskedSentence | None]:
        """Of each (origin, text) None, and the reason counted, if nothing of it can be hidden."""
        texts = [text for _, text in sentences]
        tokenized = [self._inputs.tokenize(text) for text in texts]
        words = [whole_words(*one, self._continuations) for one in tokenized]
        chosen = self._chooser.choose_all(texts, words, self._inputs.limits.query - 2, rng)
        return [
            self._masked(origin, text, ids, hidden)
            for (origin, text), (ids, _), hidden in zip(sentences, tokenized, chosen, strict=True)
        ]

    def _masked(
        self,
        origin: str,
        text: str,
        ids: list[int],
        words: Sequence[Word],
    ) -> MaskedSentence | None:
        hidden = [place for word in words for place in range(word.first, word.last)]
        room = self._inputs.limits.query - 2
        if why := self._fault(hidden, len(ids), room):
            self.skipped[why] += 1
            return None
        masked = list(ids)
        for place in hidden:
            masked[place] = self._inputs.mask
        visible = text
        for word in reversed(words):
            visible = f"{visible[: word.start]} {visible[word.end :]}"
        targets = [ids[place] for place in hidden]
        return MaskedSentence(origin, text, masked, hidden, targets, visible)

    def _fault(self, hidden: Sequence[int], pieces: int, room: int) -> str | None:
        if not hidden:
            return self._chooser.skip_reason
        if hidden[-1] >= room:
            # A target that the query does not hold could not be asked for (REALM's code, too).
            return "span_beyond_query"
        return "too_little_context" if pieces - len(hidden) < MIN_CONTEXT else None


def continuation_ids(inputs: InputBuilder) -> frozenset[int]:
    """Ids of the pieces that go on with a word (`##…` of WordPiece)."""
    vocabulary, pieces = inputs.tokenizer.get_vocab(), inputs.pieces
    return frozenset(number for piece, number in vocabulary.items() if pieces.read(piece).goes_on)


def whole_words(
    ids: Sequence[int], offsets: Sequence[tuple[int, int]], continuation_ids: Collection[int]
) -> list[Word]:
    """The words of a tokenized text: together they are all of its pieces, in order."""
    firsts = [i for i, piece in enumerate(ids) if i == 0 or piece not in continuation_ids]
    return [
        Word(first, last, offsets[first][0], offsets[last - 1][1])
        for first, last in pairwise([*firsts, len(ids)])
    ]


def _is_word(text: str, word: Word) -> bool:
    return any(character.isalnum() for character in text[word.start : word.end])

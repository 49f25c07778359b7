"""Candidate passages of a question: what a search gives, which may be used, how much is read.

A passage is read as the index reads it, or a window of it where that is too long; the input
itself is made by `realm.model.inputs`.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.model.inputs import MIN_BODY_TOKENS, Encoded, InputBuilder
from realm.objectives.masking import continuation_ids
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.text.cloze import normalise_sentence


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage found; title and body as word piece ids without special tokens.

    `words` is its BM25 score for the question that found it, by the index's own statistics.
    """

    passage_id: str
    document_id: str
    text: str
    title_ids: list[int]
    body_ids: list[int]
    words: float = 0.0

    @classmethod
    def of(cls, passage: Passage, words: float = 0.0) -> Candidate:
        return cls(
            passage.passage_id,
            passage.document_id,
            passage.text,
            passage.title_ids,
            passage.body_ids,
            words,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as an index reads it: its words, and its input to the query encoder."""

    text: str
    encoded: Encoded


class CandidateSearch(Protocol):
    """Finds passages for questions: the live index, or exact search in tests."""

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        """The `limit` passages of each question that rank best, best first.

        :raises DependencyUnavailable, NotFound: if the index does not answer.
        :raises NotReady: if there is no index yet.
        """
        ...


@dataclass(frozen=True, slots=True)
class Beam:
    """Many passages of one question, best first, with the index's own vectors [n, size] and their
    BM25 scores for it [n]."""

    passage_ids: list[str]
    document_ids: list[str]
    texts: list[str]
    vectors: Vectors
    words: NDArray[np.float32]

    def keep(self, rows: Sequence[int]) -> Beam:
        return Beam(
            [self.passage_ids[row] for row in rows],
            [self.document_ids[row] for row in rows],
            [self.texts[row] for row in rows],
            self.vectors[list(rows)],
            self.words[list(rows)],
        )


class TrainingSearch(CandidateSearch, Protocol):
    """What objectives need of an index and its corpus."""

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        """The `limit` passages of each question of greatest f(x, z), or as many as there are.

        :raises DependencyUnavailable, NotFound, NotReady: as `search` does.
        """
        ...

    def of_document(self, document_id: str) -> list[Candidate]:
        """A document's passages, in their order; none of an unknown document."""
        ...


def usable_candidates(
    found: Sequence[Candidate],
    sentence: str,
    origin: str,
    most: int,
    skipped: Counter[str],
) -> list[Candidate]:
    """The first `most` candidates from which something can be learnt, in their order.

    Trivial ones give the masked words away: the sentence's own passage `origin`, and any other
    that holds the same sentence (REALM, section 3.4). Held-out documents are never learnt from.
    """
    needle = normalise_sentence(sentence)
    kept: list[Candidate] = []
    for candidate in found:
        if len(kept) == most:
            break
        if candidate.passage_id == origin or needle in normalise_sentence(candidate.text):
            skipped["trivial_candidate"] += 1
        elif is_held_out(candidate.document_id):
            skipped["held_out_candidate"] += 1
        else:
            kept.append(candidate)
    return kept


def whole_word_matches(
    body_ids: Sequence[int], answer_ids: Sequence[int], continuation_ids: Collection[int]
) -> list[int]:
    """Where in a body the answer stands as whole words: the first word piece of each match.

    :param continuation_ids: ids of word pieces that go on with a word (`##…`).
    """
    size = len(answer_ids)
    if not size or answer_ids[0] in continuation_ids:
        return []
    answer = list(answer_ids)
    return [
        start
        for start in range(len(body_ids) - size + 1)
        if body_ids[start] == answer[0]
        and list(body_ids[start : start + size]) == answer
        and not (start + size < len(body_ids) and body_ids[start + size] in continuation_ids)
    ]


class PassageWindows:
    """Cuts passages to a length in whole words, at random places: where a passage begins must not
    tell positives from negatives.

    :param tokens: longest passage input in training, in word pieces; 0: the index's own.
    """

    def __init__(self, inputs: InputBuilder, tokens: int = 0) -> None:
        self.tokens = min(tokens or inputs.limits.passage, inputs.limits.passage)
        self._inputs = inputs
        self._continuations = continuation_ids(inputs)

    def encode(self, candidate: Candidate) -> Encoded:
        return self._inputs.passage(candidate.title_ids, candidate.body_ids)

    def distinct(
        self, candidates: Sequence[Sequence[Candidate]]
    ) -> tuple[list[Encoded], list[list[int]]]:
        """The inputs, each once, and which of them each question's candidates are."""
        places: dict[tuple[str, tuple[int, ...]], int] = {}
        inputs: list[Encoded] = []
        rows: list[list[int]] = []
        for of_question in candidates:
            rows.append([])
            for one in of_question:
                key = one.passage_id, (*one.body_ids,)
                if key not in places:
                    places[key] = len(inputs)
                    inputs.append(self.encode(one))
                rows[-1].append(places[key])
        return inputs, rows

    def window(
        self, candidate: Candidate, rng: random.Random, keep: tuple[int, int] = (0, 0)
    ) -> Candidate:
        """The candidate with as much of its body as there is room for.

        :param keep: pieces [first, last) that must be in it, if there is room for them.
        """
        if self._fits(candidate):
            return candidate
        title, room = self._room(candidate)
        first, last = self._window(candidate.body_ids, room, keep, rng)
        return replace(candidate, title_ids=title, body_ids=candidate.body_ids[first:last])

    def window_around(
        self, candidate: Candidate, holds: Callable[[str], bool], rng: random.Random
    ) -> Candidate | None:
        """As `window`, but around what `holds` finds in the text; None if it does not fit."""
        if self._fits(candidate):
            return candidate
        title, room = self._room(candidate)
        text = candidate.text
        ids, offsets = self._inputs.tokenize(text)
        begins = [at for at in range(len(ids)) if self._begins(ids, at)]
        ends = [*begins[1:], len(ids)]

        def read(first: int, last: int) -> str:
            return text[offsets[first][0] : offsets[last - 1][1]]

        # The first run of words that holds it: its end, then its begin.
        place = bisect_left(ends, True, key=lambda end: holds(read(0, end)))
        last = ends[min(place, len(ends) - 1)]
        lost = bisect_left(
            begins, True, key=lambda begin: begin >= last or not holds(read(begin, last))
        )
        keep = (begins[max(0, lost - 1)], last)
        first, last = self._window(ids, room, keep, rng)
        if not holds(read(first, last)):
            return None
        return replace(candidate, title_ids=title, body_ids=ids[first:last])

    def _fits(self, candidate: Candidate) -> bool:
        return 3 + len(candidate.title_ids) + len(candidate.body_ids) <= self.tokens

    def _room(self, candidate: Candidate) -> tuple[list[int], int]:
        """The title, and how many pieces of the body go beside it."""
        frame = self._inputs.passage_frame
        title = candidate.title_ids[: max(0, self.tokens - frame - MIN_BODY_TOKENS)]
        return title, self.tokens - frame - len(title)

    def _window(
        self, ids: Sequence[int], room: int, keep: tuple[int, int], rng: random.Random
    ) -> tuple[int, int]:
        least, most = 0, max(0, len(ids) - room)
        if keep[0] < keep[1] <= keep[0] + room:
            least, most = max(least, keep[1] - room), min(most, keep[0])
        begins = [at for at in range(least, most + 1) if self._begins(ids, at)]
        first = rng.choice(begins) if begins else most
        last = min(len(ids), first + room)
        while last > max(first + 1, keep[1]) and not self._begins(ids, last):
            last -= 1
        return first, last

    def _begins(self, ids: Sequence[int], at: int) -> bool:
        return at == 0 or at == len(ids) or ids[at] not in self._continuations

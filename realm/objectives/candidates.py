"""Candidate passages of a masked sentence: what a search gives, and which of it may be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.model.inputs import Encoded
from realm.records.vectors import Vectors
from realm.text.inverse_cloze import normalise_sentence


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage found; title and body as word piece ids without special tokens."""

    passage_id: str
    document_id: str
    text: str
    title_ids: list[int]
    body_ids: list[int]


class CandidateSearch(Protocol):
    """Whatever finds passages for queries: the live index, or exact search in a test."""

    def search(self, queries: Sequence[Encoded], limit: int) -> list[list[Candidate]]:
        """The `limit` best passages of each query, best first.

        :raises DependencyUnavailable: if the index does not answer.
        :raises NotReady: if there is no index yet.
        """
        ...


@dataclass(frozen=True, slots=True)
class Beam:
    """Many passages of one question, best first, with the index's own vectors [n, size]."""

    passage_ids: list[str]
    document_ids: list[str]
    texts: list[str]
    vectors: Vectors

    def keep(self, rows: Sequence[int]) -> Beam:
        return Beam(
            [self.passage_ids[row] for row in rows],
            [self.document_ids[row] for row in rows],
            [self.texts[row] for row in rows],
            self.vectors[list(rows)],
        )


class TrainingSearch(CandidateSearch, Protocol):
    """All that objectives ask of an index and of the corpus beneath it."""

    def beams(self, queries: Sequence[Encoded], limit: int) -> list[Beam]:
        """The `limit` best passages of each query, or as many as there are.

        :raises DependencyUnavailable, NotFound, NotReady: as `search` does.
        """
        ...

    def of_document(self, document_id: str) -> list[Candidate]:
        """A document's passages, in their order; none of an unknown document."""
        ...


class WordSearch(Protocol):
    """Whatever finds passages by the words of a question: BM25."""

    def search_words(self, questions: Sequence[str], limit: int) -> list[list[Candidate]]:
        """The `limit` best passages of each question, best first.

        :raises DependencyUnavailable, NotFound, NotReady: if the index does not answer.
        """
        ...


def usable(
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


def to_candidate(passage: Passage) -> Candidate:
    return Candidate(
        passage.passage_id,
        passage.document_id,
        passage.text,
        passage.title_ids,
        passage.body_ids,
    )


def whole_word_matches(
    body_ids: Sequence[int], answer_ids: Sequence[int], continuations: Collection[int]
) -> list[int]:
    """Where in a body the answer stands as whole words: the first word piece of each match.

    :param continuations: ids of word pieces that go on with a word (`##…`).
    """
    size = len(answer_ids)
    if not size or answer_ids[0] in continuations:
        return []
    answer = list(answer_ids)
    return [
        start
        for start in range(len(body_ids) - size + 1)
        if body_ids[start] == answer[0]
        and list(body_ids[start : start + size]) == answer
        and not (start + size < len(body_ids) and body_ids[start + size] in continuations)
    ]

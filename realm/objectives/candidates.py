"""Candidate passages of a masked sentence: what a search gives, and which of it may be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from realm.corpus.documents import is_held_out
from realm.model.inputs import Encoded
from realm.objectives.cloze import normalise_sentence


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
        trivial = candidate.passage_id == origin or needle in normalise_sentence(candidate.text)
        if trivial:
            skipped["trivial_candidate"] += 1
        elif is_held_out(candidate.document_id):
            skipped["held_out_candidate"] += 1
        else:
            kept.append(candidate)
    return kept


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

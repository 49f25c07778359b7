"""How common each term is in a corpus, and how long its passages are: what BM25 weighs by.

A generation's are counted once, from the passages that it is begun with, and kept in a file that
its manifest names. All its writes and questions are weighed by it, whatever changes meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from realm.corpus.passages import Passage
from realm.errors import Corrupt
from realm.records import arrow
from realm.records.store import Store
from realm.records.weighing import Weighing
from realm.search.bm25 import K1, SparseVector, idf, passage_weights
from realm.text.terms import question_terms

SCHEMA = pa.schema([("term", pa.uint32()), ("holders", pa.uint32())])


@dataclass(frozen=True, slots=True, eq=False)
class WordStatistics:
    """`holders` [terms] says in how many passages each of `terms` [terms], ascending, occurs;
    `passages` counts those with any, `average_terms` is the mean length of all in terms. `k1` is
    the generation's, which its manifest says.
    """

    terms: NDArray[np.uint32]
    holders: NDArray[np.uint32]
    passages: int
    average_terms: float
    k1: float = K1

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> WordStatistics:
        counting = Counting()
        counting.add([each.terms for each in passages], [each.term_counts for each in passages])
        return counting.result()

    def question(self, text: str) -> SparseVector:
        """The weights of a question's terms; empty where nothing in it is a word.

        A term that no passage had when they were counted is the rarest of all.
        """
        counted = question_terms(text)
        asked = np.fromiter(counted, np.uint32, len(counted))
        places = np.searchsorted(self.terms, asked)
        holders = np.zeros(len(asked), np.int64)
        inside = np.flatnonzero(places < len(self.terms))
        known = inside[self.terms[places[inside]] == asked[inside]]
        holders[known] = self.holders[places[known]]
        counts = np.fromiter(counted.values(), np.float64, len(counted))
        weights = counts * idf(self.passages, holders)
        return SparseVector(list(counted), weights.astype(np.float32).tolist())

    def passage(self, terms: Sequence[int], counts: Sequence[int]) -> SparseVector:
        """The weights of a passage's terms."""
        return passage_weights(terms, counts, self.weighing)

    @property
    def weighing(self) -> Weighing:
        return Weighing(self.average_terms, self.k1)


class Counting:
    """Counts terms batch by batch: what is held grows with the vocabulary, not with the corpus."""

    def __init__(self) -> None:
        self._terms = np.zeros(0, np.uint32)
        self._holders = np.zeros(0, np.uint32)
        self._rows = self._passages = self._length = 0

    def add(self, terms: Sequence[Sequence[int]], counts: Sequence[Sequence[int]]) -> None:
        """Passages by their terms, each once, and how often each of those occurs."""
        sizes = [len(each) for each in terms]
        flat = np.fromiter((term for each in terms for term in each), np.uint32, sum(sizes))
        self._count(flat, sizes, sum(sum(each) for each in counts))

    def add_table(self, table: pa.Table) -> None:
        """The passages of a passage file."""
        terms = table["terms"].combine_chunks()
        flat = terms.flatten().to_numpy(zero_copy_only=False).astype(np.uint32)
        lengths = table["term_counts"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self._count(flat, terms.value_lengths().to_pylist(), int(lengths.sum()))

    def result(self) -> WordStatistics:
        average = self._length / self._rows if self._rows else 0.0
        return WordStatistics(self._terms, self._holders, self._passages, average)

    def _count(self, flat: NDArray[np.uint32], sizes: Sequence[int], length: int) -> None:
        fresh, found = np.unique(flat, return_counts=True)
        self._terms, places = np.unique(np.append(self._terms, fresh), return_inverse=True)
        self._holders = np.bincount(
            places, np.append(self._holders, found), len(self._terms)
        ).astype(np.uint32)
        self._rows += len(sizes)
        self._passages += sum(size > 0 for size in sizes)
        self._length += length


def count_words(store: Store, passage_files: Iterable[str]) -> WordStatistics:
    """:raises NotFound, Corrupt: if a file is gone or damaged."""
    counting = Counting()
    for path in passage_files:
        counting.add_table(arrow.read_table(store, path))
    return counting.result()


def write_word_statistics(store: Store, fingerprint: str, found: WordStatistics) -> str:
    """Writes them beside the passages of this fingerprint, named by what they say; the path."""
    about = {"passages": str(found.passages), "average_terms": repr(found.average_terms)}
    table = pa.Table.from_arrays([found.terms, found.holders], schema=SCHEMA.with_metadata(about))
    data = arrow.to_bytes(table)
    path = f"passages/{fingerprint}/words/{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    store.write(path, data)
    return path


def read_word_statistics(store: Store, path: str) -> WordStatistics:
    """:raises NotFound, Corrupt:"""
    table = arrow.read_table(store, path)
    about = arrow.metadata(table)
    try:
        return WordStatistics(
            table["term"].to_numpy(),
            table["holders"].to_numpy(),
            int(about["passages"]),
            float(about["average_terms"]),
        )
    except (KeyError, ValueError) as error:
        raise Corrupt(f"{path} does not hold statistics of words: {error}", file=path) from error

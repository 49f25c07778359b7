"""A vector database behind one protocol: a collection a generation, searched by its own name.

An implementation is one folder of this package; `open_index` and `open_search` name the one in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from realm.corpus.passages import Passage
from realm.model.relevance import DENSE_ONLY, Relevance
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.retrieval import Retrieval
from realm.search.bm25 import NO_WORDS, SparseVector
from realm.settings import Settings
from realm.v1.types_pb2 import Filter


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage as the collection holds it: text and origin, no token ids."""

    passage_id: str
    document_id: str
    document_version: int
    ordinal: int
    title: str
    text: str
    start: int
    end: int
    metadata: dict[str, str]
    #: What answers the question that the text is; empty: it is read.
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What a collection is asked: a vector [size], terms, what of them ranks, and s and w of the
    snapshot that the collection is of, by which `Retrieval.HYBRID` ranks. Only passages whose
    metadata pass `filter` take part (None: all), in every ranking; it was checked."""

    vector: Vectors
    terms: SparseVector = NO_WORDS
    retrieval: Retrieval = Retrieval.DENSE
    relevance: Relevance = DENSE_ONLY
    filter: Filter | None = None

    def words(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """What w multiplies in f(x, z), of the passages' BM25 scores, in their shape."""
        return self.relevance.words(scores, self.terms.total)


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, with its inner product and what it has in common with the question's words
    (`Query.words`), whatever ranked it: both exact, of which f(x, z) is the weighted sum."""

    passage: IndexedPassage
    product: float
    words: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found. `version` is the corpus version of which it lacks nothing, as the copy
    that was searched proves; None: nobody asked for a proof."""

    hits: list[Hit]
    version: int | None = None


def relevance_of(hits: Sequence[Hit], query: Query) -> list[float]:
    """f(x, z) of what a query found."""
    products = np.array([hit.product for hit in hits], np.float32)  # [k]
    words = np.array([hit.words for hit in hits], np.float32)  # [k]
    scores: list[float] = query.relevance(products, words).tolist()
    return scores


#: Called with a peer of the database, and whether it answers.
OnPeer = Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class ChangeHooks:
    """Called around changes; those called before may refuse by raising.

    :param before_change: before anything in the database changes.
    :param after_change: after a change to a collection was tried, whether or not it succeeded.
    :param before_drop: before a collection is dropped or replaced.
    :param on_peer: called at the start, and with each peer that answers no longer, or again.
    """

    before_change: Callable[[], None] = lambda: None
    after_change: Callable[[str], None] = lambda collection: None
    before_drop: Callable[[str], None] = lambda collection: None
    on_peer: OnPeer = lambda peer, answers: None


class VectorIndex(Protocol):
    """Creates, fills, searches and drops collections. Blocking; indexer, trainer and CLI use it.

    Every method raises DependencyUnavailable if the database does not answer, OutOfSpace if it is
    full, NotFound if a collection is missing and nothing else is said.
    """

    @property
    def full(self) -> str:
        """Why the last change failed, if for want of space; else empty."""

    def create(self, collection: str, vector_size: int) -> None:
        """Makes an empty collection, replacing a half-built one of the same name.

        :param vector_size: 0: its passages have words alone.
        """

    def exists(self, collection: str) -> bool: ...

    def collections(self) -> list[str]:
        """Their names, sorted."""

    def optimise(self, collection: str) -> None:
        """Starts building approximate indexes where they are due; returns at once."""

    def is_optimising(self, collection: str) -> bool:
        """Whether approximate indexes are being built, so that searches are slower; False if the
        collection is missing."""

    def drop(self, collection: str) -> None:
        """A missing one is no error."""

    def upsert(
        self, collection: str, passages: Sequence[Passage], vectors: Vectors, weighing: Weighing
    ) -> None:
        """Writes passages with their vectors [passages, size]; searchable on return. A late call
        never replaces a newer version by an older one.

        :param weighing: of the generation that the collection is of.
        """

    def delete_older(self, collection: str, versions: Mapping[str, int]) -> None:
        """Deletes passages that are older than these versions of their documents, by id."""

    def mark(self, collection: str, version: int) -> None:
        """Notes in the collection that it holds every change up to a corpus version. Each copy of
        the collection gets its changes in turn: one that has the mark has what came before."""

    def expect(self, collection: str, version: int) -> None:
        """From now on no copy is believed that has not the changes up to a corpus version, if
        another has: by what counts points, looks at some, or searches. Whoever marks expects."""

    def marked(self, collection: str) -> int:
        """The corpus version that the mark says; 0: there is none."""

    def count(self, collection: str) -> int:
        """Exactly how many passages the collection has."""

    def count_of(self, collection: str, *document_ids: str) -> int:
        """How many passages of some documents the collection has."""

    def versions(self, collection: str, passage_ids: Sequence[str]) -> dict[str, int]:
        """The document versions of those passages that are there."""

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]:
        """The stored vectors [size] of those passages that are there."""

    def weights(self, collection: str, passage_ids: Sequence[str]) -> dict[str, SparseVector]:
        """The stored BM25 weights of those passages that are there."""

    def restore_copies(self, collection: str) -> int:
        """Has one copy made that the collection lacks, where the database is a cluster; returns how
        many it lacks. A peer that does not answer has none."""

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        """The passages that each one's `retrieval` ranks best, best first."""

    def alias(self) -> str | None:
        """The collection that the alias `live` points to."""

    def point_alias(self, collection: str) -> None:
        """Atomically re-points the alias `live`."""

    def close(self) -> None: ...


class VectorSearch(Protocol):
    """Searches a collection without blocking the event loop; the gateway uses it."""

    def watch_peers(self, on_peer: OnPeer) -> None:
        """Has it told which peers answer: all at once, and from then on each change."""

    async def search(
        self,
        collection: str,
        query: Query,
        limit: int,
        timeout: float,
        version: int | None = None,
    ) -> Found:
        """The passages that `query.retrieval` ranks best, best first; `timeout` in seconds.

        :param version: the corpus version that a marked collection is known to hold: a copy that
            proves it is searched, or if there is none, the newest that answers.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer of the database: its version, or why it does not answer."""

    address: str
    version: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ForeignPoint:
    """A point of a collection that is not ours."""

    id: str | int
    payload: Mapping[str, Any]


def foreign_points(
    settings: Settings, collection: str, after: str | int | None = None
) -> Iterator[list[ForeignPoint]]:
    """Pages of the points of any collection, in the order of ids, beyond the id `after`.

    :raises NotFound: if there is no such collection.
    """
    from realm.search.qdrant.foreign import foreign_points

    return foreign_points(settings, collection, after)


def look_at_peers(settings: Settings) -> list[Peer]:
    """Each one that the settings name, asked by itself.

    :raises BadSettings: if its URL is unusable.
    """
    from realm.search.qdrant.connections import look_at_each

    return look_at_each(settings)


def open_index(settings: Settings, hooks: ChangeHooks | None = None) -> VectorIndex:
    """:raises BadSettings: if its URL is unusable."""
    from realm.search.qdrant.index import QdrantIndex

    return QdrantIndex(settings, hooks or ChangeHooks())


def open_search(settings: Settings) -> VectorSearch:
    """:raises BadSettings: if its URL is unusable."""
    from realm.search.qdrant.index import QdrantSearch

    return QdrantSearch(settings)

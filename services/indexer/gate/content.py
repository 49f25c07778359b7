"""What a generation's collection should hold, from its files: shards ⊕ deltas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from realm.corpus.changes import changes_file, read_changes
from realm.corpus.passages import Passage, from_table
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import NO_VECTOR, Vectors, vector_file
from realm.records.weighing import Weighing
from realm.retrieval import Retrieval
from realm.search.bm25 import NO_WORDS, Bm25Index, SparseVector, passage_weights
from realm.search.exact import ExactIndex, top_k
from realm.search.queries import QueryMaker
from realm.search.vector_index import Query, VectorIndex
from services.indexer.build.loader import vectors_for
from services.indexer.gate.probes import DEPTH, Probes, place

#: A document's id and version: equal ones have equal text.
DocumentState = tuple[str, int]


class ExpectedContent:
    """Vectors and terms by passage id, and the document that each passage is of."""

    def __init__(self) -> None:
        self.vectors: dict[str, Vectors] = {}
        #: Hashes and counts [2, terms]: lists of numbers would take ten times the memory.
        self.terms: dict[str, NDArray[np.uint32]] = {}
        self.documents: dict[str, DocumentState] = {}
        self._of_document: dict[str, set[str]] = {}

    def put(self, passage_id: str, document_id: str, version: int, vector: Vectors) -> None:
        self.vectors[passage_id] = vector
        self.documents[passage_id] = document_id, version
        self._of_document.setdefault(document_id, set()).add(passage_id)

    def delete_older(self, document_id: str, version: int) -> None:
        passages = self._of_document.get(document_id, set())
        for passage_id in [each for each in passages if self.documents[each][1] < version]:
            passages.remove(passage_id)
            del self.vectors[passage_id], self.documents[passage_id]
            self.terms.pop(passage_id, None)

    def weights(self, passage_id: str, weighing: Weighing) -> SparseVector:
        """The BM25 weights that the collection should hold."""
        terms, counts = self.terms[passage_id].tolist()
        return passage_weights(terms, counts, weighing)

    def query(self, passage_id: str, generation: Generation) -> Query:
        """The passage as a question: by its vector, or by its words where they are all there is."""
        vector = self.vectors[passage_id]
        if not generation.words_alone:
            return Query(vector)
        return Query(vector, self.weights(passage_id, generation.weighing), Retrieval.BM25)

    def best_scores(self, queries: Sequence[Query], weighing: Weighing, k: int) -> list[Vectors]:
        """Of each such question the scores [≤ k] of the best passages by exact search, best
        first; all are by vectors, or all by words."""
        if all(query.retrieval is Retrieval.DENSE for query in queries):
            matrix = np.array(list(self.vectors.values()), np.float32)
            asked = np.array([query.vector for query in queries], np.float32)
            return [*top_k(asked, matrix, k)[1]]
        words = Bm25Index([self.weights(each, weighing) for each in self.vectors])
        return [words.search(query.terms, k)[1] for query in queries]

    def put_shards(self, store: Store, snapshots: Snapshots, generation: Generation) -> None:
        """:raises NotFound, Corrupt: if a file is gone or damaged."""
        snapshot = snapshots.get(generation.snapshot)
        for path in generation.passage_files:
            passages = from_table(arrow.read_table(store, path))
            output = vector_file(snapshot.name, path)
            self._put(passages, vectors_for(store, generation, passages, output))

    def put_steps(
        self, store: Store, generation: Generation, steps: Iterable[tuple[int, int]]
    ) -> None:
        """The changes of corpus versions after < version ≤ upto, in the order given.

        :raises NotFound, Corrupt: if a file is gone or damaged.
        """
        for after, upto in steps:
            changes = read_changes(store, changes_file(generation.fingerprint, after, upto))
            delta = generation.delta_file(after, upto)
            self._put(changes.passages, vectors_for(store, generation, changes.passages, delta))
            for document in changes.documents:
                self.delete_older(document.document_id, document.version)

    def ranks(
        self, maker: QueryMaker, probes: Probes, by: str, among: set[DocumentState]
    ) -> list[int | None]:
        """As `probes.ranks`, by exact search over the passages of some documents only.

        :param by: `passage_id` or `document_id`.
        """
        ids = [each for each, document in self.documents.items() if document in among]
        if not ids:
            return [None] * len(probes)
        matrix = np.array([self.vectors[each] for each in ids], dtype=np.float32)
        weighed = []
        if maker.words is not None:
            weighed = [self.weights(each, maker.words.weighing) for each in ids]
        index = ExactIndex(matrix, Bm25Index(weighed or [NO_WORDS] * len(ids)))
        names = ids if by == "passage_id" else [self.documents[each][0] for each in ids]
        queries = probes.queries(maker)
        targets, own = probes.questions[by].to_pylist(), probes.own_scores(maker, queries)
        places: list[int | None] = []
        for query, target, score in zip(queries, targets, own, strict=True):
            found = index.search(query, DEPTH + 1)
            scores = query.relevance(found.products, found.words).tolist()
            places.append(place([names[row] for row in found.rows], scores, target, score))
        return places

    def _put(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        for passage, vector in zip(passages, vectors, strict=True):
            self.put(passage.passage_id, passage.document_id, passage.document_version, vector)
            terms = np.array([passage.terms, passage.term_counts], np.uint32)
            self.terms[passage.passage_id] = terms


def stored_vectors(
    index: VectorIndex, generation: Generation, passage_ids: Sequence[str]
) -> Mapping[str, Vectors]:
    """The vectors [size] that a generation's collection holds of those passages that are there."""
    if not generation.words_alone:
        return index.vectors(generation.collection, passage_ids)
    there = index.versions(generation.collection, passage_ids)
    return dict.fromkeys(there, NO_VECTOR)

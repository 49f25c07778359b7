"""What a generation's collection is asked for a question."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import structlog

from realm.errors import Corrupt, NotFound
from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance
from realm.records.generation import Generation
from realm.records.store import Store
from realm.records.vectors import NO_VECTOR, Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector
from realm.search.vector_index import Query
from realm.search.word_statistics import WordStatistics, count_words, read_word_statistics
from realm.text.terms import count_terms, question_terms

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class QueryMaker:
    """Weighs questions for one generation: by s and w of its snapshot, and its own statistics.

    `words` is None for a generation of an earlier release. Its collection weighs terms by itself:
    they rank, but are no part of f(x, z), for which w is 0. Where there are words alone
    (`words_alone`) they rank whatever was asked for, and are all of f(x, z); w is the first one
    where the snapshot's is 0, by which no passages could be told apart.
    """

    relevance: Relevance
    words: WordStatistics | None
    words_alone: bool = False

    @classmethod
    def of(cls, store: Store, generation: Generation, relevance: Relevance) -> QueryMaker:
        """:raises NotFound, Corrupt: if the generation's statistics are gone or damaged, and so is
        what they follow from.
        """
        if not generation.word_statistics:
            return cls(relevance, None)
        try:
            words = read_word_statistics(store, generation.word_statistics)
        except (NotFound, Corrupt) as error:
            log.warning("words_counted_again", generation=generation.number, why=error.message)
            words = count_words(store, generation.passage_files)
        words = replace(words, k1=generation.k1)
        return cls(relevance, words, generation.words_alone)

    def query(self, question: str, vector: Vectors, way: Retrieval = Retrieval.HYBRID) -> Query:
        """:param vector: the question's, [size]."""
        return self.weighed(self.terms(question), vector, way)

    def terms(self, question: str) -> SparseVector:
        """The weights of a question's terms."""
        if self.words is not None:
            return self.words.question(question)
        counted = question_terms(question)
        return SparseVector(list(counted), list(counted.values()))

    def weighed(self, terms: SparseVector, vector: Vectors, way: Retrieval) -> Query:
        """As `query`, of a question whose terms are weighed already."""
        if self.words_alone:
            w = self.relevance.word_weight if self.relevance.word_weight > 0 else FIRST_WORD_WEIGHT
            alone = replace(self.relevance, scale=0.0, word_weight=w)
            return Query(NO_VECTOR, terms, Retrieval.BM25, alone)
        if self.words is not None:
            return Query(vector, terms, way, self.relevance)
        return Query(vector, terms, way, replace(self.relevance, word_weight=0.0))

    def score(self, query: Query, vector: Vectors, *texts: str) -> float:
        """f(x, z) of a query with a passage that is in no collection, by its vector [size], title,
        text and answer."""
        words = 0.0
        if self.words is not None:
            counted = count_terms(*texts)
            words = query.terms.dot(self.words.passage([*counted], [*counted.values()]))
        pair = np.array([query.vector @ vector]), np.array([words], np.float32)
        return float(query.relevance(pair[0], query.words(pair[1]))[0])

"""s and w of f(x, z), fitted to questions of known documents that nothing learnt from.

Such questions are often written with the passage in sight and share more of its words than a user's
do. So a quarter of them are asked once more in other words: by the same vector, while a random
share of the words that its passages have are words that stand nowhere.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np
import structlog
from numpy.typing import NDArray

from realm.evaluation.searching import PassageVectors, Searcher
from realm.evaluation.systems import System
from realm.model.calibration import fit_relevance
from realm.model.relevance import Relevance
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector
from realm.search.exact import DEPTH
from realm.search.vector_index import Query
from realm.text.questions import Question

#: A question in a hundred decides the order of two documents: fewer say too little.
LEAST_QUESTIONS = 100
#: One question in so many is asked in other words too.
REWORDED = 4
#: A term of no passage: theirs are hashes.
NOWHERE = -1

_log = structlog.get_logger(__name__)


def fitted_relevance(
    system: System, index: PassageVectors, questions: Sequence[Question], queries: Vectors
) -> Relevance:
    """s and w of the greatest likelihood that p(z|x) gives the passages of the right documents.

    Of each question the candidates are those of a search. The system's own, if the questions that
    name a document are few.

    :param queries: the questions' vectors [questions, size].
    """
    named = [n for n, one in enumerate(questions) if one.document_ids]
    if len(named) < LEAST_QUESTIONS:
        return system.relevance
    searcher = Searcher(index, Retrieval.HYBRID, system.relevance)
    asked = [questions[n] for n in named]
    as_asked = searcher.queries([one.question for one in asked], queries[named])
    words: dict[str, set[int]] = {}
    for passage in index.passages:
        words.setdefault(passage.document_id, set()).update(passage.terms)
    rng = np.random.default_rng(0)
    reworded = [
        in_other_words(query, words.get(one.document_ids[0], set()), rng.random(), rng)
        for one, query in zip(asked[::REWORDED], as_asked[::REWORDED], strict=True)
    ]
    found = searcher.find([*as_asked, *reworded], DEPTH)
    ids = np.array([one.document_id for one in index.passages])
    right: list[NDArray[np.bool_]] = [
        np.isin(ids[own.rows], one.document_ids)
        for one, own in zip([*asked, *asked[::REWORDED]], found, strict=True)
    ]
    fitted = fit_relevance(
        [own.products for own in found], [own.words for own in found], right, system.relevance
    )
    _log.info(
        "relevance_fitted", questions=len(asked), scale=fitted.scale, word_weight=fitted.word_weight
    )
    return fitted


def in_other_words(
    query: Query, known: Container[int], share: float, rng: np.random.Generator
) -> Query:
    """The query with so much of its `known` terms, at random, replaced by one of no passage, which
    weighs as much."""
    terms = [
        NOWHERE if term in known and rng.random() < share else term for term in query.terms.indices
    ]
    return replace(query, terms=SparseVector(terms, query.terms.values))

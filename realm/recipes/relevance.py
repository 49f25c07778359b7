"""s and w of f(x, z), fitted to questions of known documents that nothing learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from realm.evaluation.searching import PassageVectors, Searcher
from realm.evaluation.systems import System
from realm.model.calibration import fit_relevance
from realm.model.relevance import Relevance
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.exact import DEPTH
from realm.text.questions import Question

#: A question in a hundred decides the order of two documents: fewer say too little.
LEAST_QUESTIONS = 100

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
    found = searcher.search([one.question for one in asked], queries[named], DEPTH)
    ids = np.array([one.document_id for one in index.passages])
    right: list[NDArray[np.bool_]] = [
        np.isin(ids[own.rows], one.document_ids) for one, own in zip(asked, found, strict=True)
    ]
    fitted = fit_relevance(
        [own.products for own in found], [own.words for own in found], right, system.relevance
    )
    _log.info(
        "relevance_fitted", questions=len(asked), scale=fitted.scale, word_weight=fitted.word_weight
    )
    return fitted

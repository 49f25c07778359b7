"""How passages lie in a collection, and what Qdrant is asked: pure translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from realm.corpus.passages import Passage
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector, passage_weights
from realm.search.exact import DEPTH, RRF_K
from realm.search.qdrant.filters import METADATA, payload_of, to_qdrant
from realm.search.vector_index import Hit, IndexedPassage, Query, relevance_of

DENSE = "dense"
BM25 = "bm25"
ANSWER = "answer"
#: The point that says up to which corpus version its collection holds every change. It has no
#: vectors, so that no search finds it, and is no passage.
MARK = "00000000-0000-0000-0000-000000000000"
MARKED_VERSION = "corpus_version"
PAYLOAD = ("document_id", "document_version", "ordinal", "title", "text", "start", "end")


def to_point(passage: Passage, vector: Vectors, weighing: Weighing) -> models.PointStruct:
    weights = passage_weights(passage.terms, passage.term_counts, weighing)
    dense = {DENSE: vector.tolist()} if vector.size else {}
    return models.PointStruct(
        id=passage.passage_id,
        vector={**dense, BM25: to_sparse(weights)},
        payload={
            **{name: getattr(passage, name) for name in PAYLOAD},
            **({ANSWER: passage.answer} if passage.answer else {}),
            **payload_of(passage.metadata),
        },
    )


def to_mark(version: int) -> models.PointStruct:
    return models.PointStruct(id=MARK, vector={}, payload={MARKED_VERSION: version})


def mark_request() -> models.QueryRequest:
    """What finds the mark."""
    only = models.Filter(must=[models.HasIdCondition(has_id=[MARK])])
    return models.QueryRequest(filter=only, limit=1, with_payload=[MARKED_VERSION])


def not_newer_mark(version: int) -> models.Filter:
    upto = models.FieldCondition(key=MARKED_VERSION, range=models.Range(lte=version))
    return models.Filter(must=[upto])


def marked_version(points: Sequence[models.ScoredPoint | models.Record]) -> int:
    """What a copy proves that answered so; 0: nothing."""
    return max((int((each.payload or {}).get(MARKED_VERSION, 0)) for each in points), default=0)


def to_sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices, values=vector.values)


def to_passage(point: models.ScoredPoint) -> IndexedPassage:
    payload = point.payload or {}
    fields = {name: payload[name] for name in PAYLOAD}
    return IndexedPassage(
        str(point.id),
        **fields,
        metadata=payload.get(METADATA) or {},
        answer=payload.get(ANSWER) or "",
    )


def to_hits(points: Sequence[models.ScoredPoint], query: Query) -> list[Hit]:
    """Both parts of f(x, z) come from what is stored, whatever ranked the passages."""
    hits = [_to_hit(point, query) for point in points]
    if query.retrieval is not Retrieval.HYBRID:
        return hits
    # Qdrant ranks in single precision.
    order = np.argsort(-np.array(relevance_of(hits, query)), kind="stable")
    return [hits[place] for place in order]


def _to_hit(point: models.ScoredPoint, query: Query) -> Hit:
    if point.vector is None:
        return Hit(to_passage(point), point.score)
    assert isinstance(point.vector, dict)
    product = 0.0
    if query.vector.size:
        product = float(np.asarray(point.vector[DENSE], np.float32) @ query.vector)
    stored = point.vector.get(BM25)  # an empty one is not stored
    if not isinstance(stored, models.SparseVector):
        return Hit(to_passage(point), product)
    weights = SparseVector(stored.indices, stored.values)
    score = np.array([query.terms.dot(weights)], np.float32)
    return Hit(to_passage(point), product, float(query.words(score)[0]))


def request(query: Query, limit: int) -> models.QueryRequest | None:
    """What to ask; None if words alone rank and the question has none."""
    passing = None if query.filter is None else to_qdrant(query.filter)
    by_vector = {"query": query.vector.tolist(), "using": DENSE, "filter": passing}
    by_words = {"query": to_sparse(query.terms), "using": BM25, "filter": passing}
    if not query.terms.indices:
        if query.retrieval is Retrieval.BM25:
            return None
        return models.QueryRequest(**by_vector, limit=limit, with_payload=True)

    def rankings(depth: int) -> list[models.Prefetch]:
        return [models.Prefetch(**each, limit=depth) for each in (by_vector, by_words)]

    asked: dict[str, Any]
    match query.retrieval:
        case Retrieval.DENSE:
            asked = by_vector
        case Retrieval.BM25:
            asked = by_words
        case Retrieval.RANK_FUSION:
            # Qdrant counts ranks from 0, the paper from 1.
            fusion = models.RrfQuery(rrf=models.Rrf(k=RRF_K + 1))
            asked = {"query": fusion, "prefetch": rankings(DEPTH)}
        case Retrieval.HYBRID:
            # The candidates are the best of both; each part is reckoned for all of them.
            depth = max(limit, DEPTH)
            both = [
                models.Prefetch(**each, prefetch=rankings(depth), limit=2 * depth)
                for each in (by_vector, by_words)
            ]
            asked = {"query": _weighted_sum(query), "prefetch": both}
    parts = [DENSE, BM25] if query.vector.size else [BM25]
    return models.QueryRequest(**asked, limit=limit, with_payload=True, with_vector=parts)


def _weighted_sum(query: Query) -> models.FormulaQuery:
    """f(x, z) of the scores of two prefetches; who shares no word has none by words."""
    product, score = names = ("$score[0]", "$score[1]")
    found = query.relevance
    words = [found.word_weight, score]
    if found.coverage:
        words = [found.word_weight / query.terms.total, score, score]
    terms = [models.MultExpression(mult=each) for each in ([found.scale, product], words)]
    return models.FormulaQuery(
        formula=models.SumExpression(sum=[*terms]), defaults=dict.fromkeys(names, 0.0)
    )


def of_documents(document_ids: Sequence[str]) -> models.Filter:
    theirs = models.MatchAny(any=list(document_ids))
    return models.Filter(must=[models.FieldCondition(key="document_id", match=theirs)])


def older_than(document_id: str, version: int) -> models.Filter:
    mine = models.MatchValue(value=document_id)
    return models.Filter(
        must=[
            models.FieldCondition(key="document_id", match=mine),
            models.FieldCondition(key="document_version", range=models.Range(lt=version)),
        ]
    )


def not_newer_than(version: int) -> models.Filter:
    upto = models.FieldCondition(key="document_version", range=models.Range(lte=version))
    return models.Filter(must=[upto])

"""How passages lie in a collection, and what Qdrant is asked: pure translation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qdrant_client import models

from realm.corpus.passages import Passage
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector, passage_weights
from realm.search.fusion import RRF_DEPTH, RRF_K
from realm.search.vector_index import Hit, IndexedPassage, Query

DENSE = "dense"
BM25 = "bm25"
PAYLOAD = ("document_id", "document_version", "ordinal", "title", "text", "start", "end")


def to_point(passage: Passage, vector: Vectors, average_terms: float) -> models.PointStruct:
    weights = passage_weights(passage.terms, passage.term_counts, average_terms)
    return models.PointStruct(
        id=passage.passage_id,
        vector={DENSE: vector.tolist(), BM25: to_sparse(weights)},
        payload={name: getattr(passage, name) for name in (*PAYLOAD, "metadata")},
    )


def to_sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices, values=vector.values)


def to_passage(point: models.ScoredPoint) -> IndexedPassage:
    payload = point.payload or {}
    fields = {name: payload[name] for name in PAYLOAD}
    return IndexedPassage(str(point.id), **fields, metadata=payload.get("metadata") or {})


def to_hit(point: models.ScoredPoint, query: Vectors) -> Hit:
    """With ⟨x, z⟩ of a passage that the vector did not rank, or not alone."""
    if point.vector is None:
        return Hit(to_passage(point), point.score)
    assert isinstance(point.vector, dict)
    stored = np.asarray(point.vector[DENSE], np.float32)
    return Hit(to_passage(point), float(stored @ query))


def dense_request(query: Vectors, limit: int) -> models.QueryRequest:
    return models.QueryRequest(query=query.tolist(), using=DENSE, limit=limit, with_payload=True)


def word_request(
    question: SparseVector, limit: int, with_vector: list[str] | None = None
) -> models.QueryRequest:
    return models.QueryRequest(
        query=to_sparse(question),
        using=BM25,
        limit=limit,
        with_payload=True,
        with_vector=with_vector,
    )


def request(query: Query, limit: int) -> models.QueryRequest | None:
    """What to ask; None if words alone rank and the question has none."""
    if query.retrieval is Retrieval.DENSE or not query.terms.indices:
        dense = query.retrieval is not Retrieval.BM25
        return dense_request(query.vector, limit) if dense else None
    if query.retrieval is Retrieval.BM25:
        return word_request(query.terms, limit, with_vector=[DENSE])
    return models.QueryRequest(
        prefetch=[
            models.Prefetch(query=query.vector.tolist(), using=DENSE, limit=RRF_DEPTH),
            models.Prefetch(query=to_sparse(query.terms), using=BM25, limit=RRF_DEPTH),
        ],
        # Qdrant counts ranks from 0, the paper from 1.
        query=models.RrfQuery(rrf=models.Rrf(k=RRF_K + 1)),
        limit=limit,
        with_payload=True,
        with_vector=[DENSE],
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

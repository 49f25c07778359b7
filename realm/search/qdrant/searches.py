"""What Qdrant is asked for passages, and what it found: pure translation.

In gRPC's own messages: to make the client's models of them and to check those takes longer than all
else that a search takes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from qdrant_client import grpc
from qdrant_client.conversions.conversion import RestToGrpc, grpc_to_payload

from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector
from realm.search.exact import DEPTH, RRF_K
from realm.search.qdrant.filters import METADATA, to_qdrant
from realm.search.qdrant.points import ANSWER, BM25, DENSE, MARK, MARKED_VERSION, PAYLOAD
from realm.search.vector_index import Hit, IndexedPassage, Query, relevance_of


def request(collection: str, query: Query, limit: int) -> grpc.QueryPoints | None:
    """What to ask; None if words alone rank and the question has none."""
    passing = None
    if query.filter is not None:
        passing = RestToGrpc.convert_filter(to_qdrant(query.filter))
    dense = grpc.DenseVector(data=query.vector.tolist())
    sparse = grpc.SparseVector(indices=query.terms.indices, values=query.terms.values)
    by_vector: dict[str, Any] = {
        "query": grpc.Query(nearest=grpc.VectorInput(dense=dense)),
        "using": DENSE,
        "filter": passing,
    }
    by_words: dict[str, Any] = {
        "query": grpc.Query(nearest=grpc.VectorInput(sparse=sparse)),
        "using": BM25,
        "filter": passing,
    }
    whole: dict[str, Any] = {
        "collection_name": collection,
        "limit": limit,
        "with_payload": grpc.WithPayloadSelector(enable=True),
    }
    if not query.terms.indices:
        if query.retrieval is Retrieval.BM25:
            return None
        return grpc.QueryPoints(**by_vector, **whole)

    def rankings(depth: int) -> list[grpc.PrefetchQuery]:
        return [grpc.PrefetchQuery(**each, limit=depth) for each in (by_vector, by_words)]

    asked: dict[str, Any]
    match query.retrieval:
        case Retrieval.DENSE:
            asked = by_vector
        case Retrieval.BM25:
            asked = by_words
        case Retrieval.RANK_FUSION:
            # Qdrant counts ranks from 0, the paper from 1.
            fusion = grpc.Query(rrf=grpc.Rrf(k=RRF_K + 1))
            asked = {"query": fusion, "prefetch": rankings(DEPTH)}
        case Retrieval.HYBRID:
            # The candidates are the best of both; each part is reckoned for all of them.
            depth = max(limit, DEPTH)
            both = [
                grpc.PrefetchQuery(**each, prefetch=rankings(depth), limit=2 * depth)
                for each in (by_vector, by_words)
            ]
            asked = {"query": _weighted_sum(query), "prefetch": both}
    parts = grpc.VectorsSelector(names=[DENSE, BM25] if query.vector.size else [BM25])
    return grpc.QueryPoints(**asked, **whole, with_vectors=grpc.WithVectorsSelector(include=parts))


def mark_request(collection: str) -> grpc.QueryPoints:
    """What finds the mark."""
    has_id = grpc.HasIdCondition(has_id=[grpc.PointId(uuid=MARK)])
    wanted = grpc.PayloadIncludeSelector(fields=[MARKED_VERSION])
    return grpc.QueryPoints(
        collection_name=collection,
        filter=grpc.Filter(must=[grpc.Condition(has_id=has_id)]),
        limit=1,
        with_payload=grpc.WithPayloadSelector(include=wanted),
    )


def proved_version(points: Iterable[grpc.ScoredPoint]) -> int:
    """What a copy proves that found these for `mark_request`; 0: nothing."""
    return max((each.payload[MARKED_VERSION].integer_value for each in points), default=0)


def batch(*asked: grpc.QueryPoints, seconds: int) -> grpc.QueryBatchPoints:
    """Of one collection. :param seconds: after which Qdrant gives up."""
    return grpc.QueryBatchPoints(
        collection_name=asked[0].collection_name, query_points=asked, timeout=seconds
    )


def _weighted_sum(query: Query) -> grpc.Query:
    """f(x, z) of the scores of two prefetches; who shares no word has none by words."""
    product, score = names = ("$score[0]", "$score[1]")
    found = query.relevance
    words: list[float | str] = [found.word_weight, score]
    if found.coverage:
        words = [found.word_weight / query.terms.total, score, score]
    parts = [_product(found.scale, product), _product(*words)]
    formula = grpc.Formula(
        expression=grpc.Expression(sum=grpc.SumExpression(sum=parts)),
        defaults={name: grpc.Value(double_value=0.0) for name in names},
    )
    return grpc.Query(formula=formula)


def _product(*factors: float | str) -> grpc.Expression:
    """Of numbers and of variables, by name."""
    each = [
        grpc.Expression(variable=one) if isinstance(one, str) else grpc.Expression(constant=one)
        for one in factors
    ]
    return grpc.Expression(mult=grpc.MultExpression(mult=each))


def to_hits(points: Iterable[grpc.ScoredPoint], query: Query) -> list[Hit]:
    """Both parts of f(x, z) come from what is stored, whatever ranked the passages."""
    hits = [_to_hit(point, query) for point in points]
    if query.retrieval is not Retrieval.HYBRID:
        return hits
    # Qdrant ranks in single precision.
    order = np.argsort(-np.array(relevance_of(hits, query)), kind="stable")
    return [hits[place] for place in order]


def _to_hit(point: grpc.ScoredPoint, query: Query) -> Hit:
    passage = _to_passage(point)
    if not point.HasField("vectors"):
        return Hit(passage, point.score)
    stored = point.vectors.vectors.vectors
    product = 0.0
    if query.vector.size:
        dense = stored[DENSE].dense.data or stored[DENSE].data
        product = float(np.array(dense, np.float32) @ query.vector)
    if BM25 not in stored:  # an empty one is not stored
        return Hit(passage, product)
    score = np.array([query.terms.dot(_sparse(stored[BM25]))], np.float32)
    return Hit(passage, product, float(query.words(score)[0]))


def _sparse(vector: grpc.VectorOutput) -> SparseVector:
    """Some releases of Qdrant fill one half of the fields, some the other; so for dense ones."""
    if vector.HasField("sparse"):
        return SparseVector(list(vector.sparse.indices), list(vector.sparse.values))
    return SparseVector(list(vector.indices.data), list(vector.data))


def _to_passage(point: grpc.ScoredPoint) -> IndexedPassage:
    payload = grpc_to_payload(point.payload)
    return IndexedPassage(
        point.id.uuid,
        **{name: payload[name] for name in PAYLOAD},
        metadata=payload.get(METADATA) or {},
        answer=payload.get(ANSWER) or "",
    )

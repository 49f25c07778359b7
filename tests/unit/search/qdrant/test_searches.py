"""What is read of Qdrant's answers. That it is asked the right thing, `tests/congruence` shows."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import grpc
from qdrant_client.grpc.json_with_int_pb2 import Struct

from realm.model.relevance import DENSE_ONLY
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector
from realm.search.qdrant.points import BM25, DENSE
from realm.search.qdrant.searches import to_hits
from realm.search.vector_index import Query

QUERY = Query(
    np.array([1.0, 2.0], np.float32),
    SparseVector([7, 9], [0.5, 1.0]),
    Retrieval.HYBRID,
    DENSE_ONLY,
)
NEW = {
    DENSE: grpc.VectorOutput(dense=grpc.DenseVector(data=[3.0, 0.5])),
    BM25: grpc.VectorOutput(sparse=grpc.SparseVector(indices=[9, 8], values=[0.25, 1.0])),
}
OLD = {
    DENSE: grpc.VectorOutput(data=[3.0, 0.5]),
    BM25: grpc.VectorOutput(data=[0.25, 1.0], indices=grpc.SparseIndices(data=[9, 8])),
}


def point(vectors: dict[str, grpc.VectorOutput]) -> grpc.ScoredPoint:
    texts = {name: grpc.Value(string_value=name) for name in ("document_id", "title", "text")}
    numbers = {
        name: grpc.Value(integer_value=1)
        for name in ("document_version", "ordinal", "start", "end")
    }
    metadata = Struct(fields={"lang": grpc.Value(string_value="en")})
    return grpc.ScoredPoint(
        id=grpc.PointId(uuid="p"),
        payload={**texts, **numbers, "metadata": grpc.Value(struct_value=metadata)},
        vectors=grpc.VectorsOutput(vectors=grpc.NamedVectorsOutput(vectors=vectors)),
    )


@pytest.mark.parametrize("vectors", [NEW, OLD])
def test_vectors_are_read_as_older_and_as_newer_servers_write_them(
    vectors: dict[str, grpc.VectorOutput],
) -> None:
    (hit,) = to_hits([point(vectors)], QUERY)
    assert (hit.product, hit.words) == (4.0, 0.25)
    assert (hit.passage.passage_id, hit.passage.text, hit.passage.end) == ("p", "text", 1)
    assert (hit.passage.metadata, hit.passage.answer) == ({"lang": "en"}, "")


def test_a_passage_without_words_has_none_in_common() -> None:
    (hit,) = to_hits([point({DENSE: NEW[DENSE]})], QUERY)
    assert (hit.product, hit.words) == (4.0, 0.0)

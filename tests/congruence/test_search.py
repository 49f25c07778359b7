"""Search, retrieval and paging agree with exact search in numpy."""

from __future__ import annotations

import math

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.conftest import search
from tests.congruence.oracle import DENSE, SIZE, SPARSE, Passage, agree, exact, exact_sparse


def test_a_batch_answers_each_of_its_queries(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    queries = np.random.default_rng(2).standard_normal((7, SIZE)).astype(np.float32)
    responses = client.query_batch_points(
        loaded,
        [
            models.QueryRequest(query=q.tolist(), using=DENSE, limit=3 + i)
            for i, q in enumerate(queries)
        ],
    )
    assert len(responses) == 7
    for number, (query, response) in enumerate(zip(queries, responses, strict=True)):
        agree(response.points, exact(passages, query, 3 + number))


def test_a_sparse_query_finds_what_exact_search_finds(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    query = {3: 1.0, 17: 0.5, 30: 2.0}
    vector = models.SparseVector(indices=list(query), values=list(query.values()))
    found = search(client, loaded, vector, using=SPARSE, limit=15)
    agree(found, exact_sparse(passages, query, 15))


def test_payload_and_vectors_come_back_as_they_went_in(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    wanted = passages[10:14]
    records = client.retrieve(
        loaded, [passage.id for passage in wanted], with_payload=True, with_vectors=True
    )
    by_id = {record.id: record for record in records}
    for passage in wanted:
        record = by_id[passage.id]
        assert record.payload == passage.payload
        assert isinstance(record.vector, dict)
        assert np.array_equal(np.array(record.vector[DENSE], np.float32), passage.dense)
        sparse = record.vector[SPARSE]
        assert isinstance(sparse, models.SparseVector)
        stored = dict(zip(sparse.indices, sparse.values, strict=True))
        assert stored.keys() == passage.sparse.keys()
        assert all(math.isclose(stored[t], w, rel_tol=1e-6) for t, w in passage.sparse.items())


def test_only_what_is_asked_for_comes_back(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    (bare,) = search(client, loaded, passages[0].dense, limit=1, with_payload=False)
    assert not bare.payload
    assert bare.vector is None
    (some,) = search(
        client, loaded, passages[0].dense, limit=1, with_payload=["ordinal"], with_vector=[DENSE]
    )
    assert set(some.payload or {}) == {"ordinal"}
    assert isinstance(some.vector, dict)
    assert set(some.vector) == {DENSE}


def test_retrieving_an_unknown_id_leaves_it_out(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    records = client.retrieve(loaded, [passages[0].id, 12345])
    assert [record.id for record in records] == [passages[0].id]


def test_scrolling_meets_every_point_once(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    seen: list[str] = []
    offset = None
    for _ in range(20):
        records, offset = client.scroll(loaded, limit=37, offset=offset, with_payload=False)
        seen += [str(record.id) for record in records]
        if offset is None:
            break
    assert sorted(seen) == sorted(passage.id for passage in passages)


@pytest.mark.parametrize(("size", "using"), [(2, DENSE), (SIZE, "nobody")])
def test_a_query_of_another_dimension_or_vector_is_refused(
    client: QdrantClient, loaded: str, size: int, using: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        search(client, loaded, [1.0] * size, using=using)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

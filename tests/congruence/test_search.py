"""Search, filters, retrieval and paging agree with exact search in numpy."""

from __future__ import annotations

import math
from uuid import UUID

import grpc
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from tests.congruence.conftest import create
from tests.congruence.edge_server import EdgeServer
from tests.congruence.oracle import (
    DENSE,
    SIZE,
    SPARSE,
    TOLERANCE,
    Passage,
    agree,
    exact,
    exact_sparse,
)


def field(key: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def test_a_query_finds_what_exact_search_finds(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    for query in np.random.default_rng(1).standard_normal((20, SIZE)).astype(np.float32):
        found = client.query_points(loaded, query=query.tolist(), using=DENSE, limit=10).points
        agree(found, exact(passages, query, 10))


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


def test_offset_and_threshold_cut_the_list(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    query = passages[3].dense
    best = exact(passages, query, 20)
    found = client.query_points(loaded, query=query.tolist(), using=DENSE, limit=5, offset=7)
    agree(found.points, best[7:12])
    threshold = (best[3][1] + best[4][1]) / 2
    found = client.query_points(
        loaded, query=query.tolist(), using=DENSE, limit=20, score_threshold=threshold
    )
    agree(found.points, best[:4])


@pytest.mark.parametrize("indexed", [False, True])
def test_a_filter_keeps_what_matches(
    client: QdrantClient, loaded: str, passages: list[Passage], indexed: bool
) -> None:
    if indexed:
        client.create_payload_index(loaded, "document_id", models.PayloadSchemaType.KEYWORD)
        client.create_payload_index(loaded, "ordinal", models.PayloadSchemaType.INTEGER)
    ids: list[int | str | UUID] = [passage.id for passage in passages[:50]]
    query = passages[8].dense
    for condition, keep in (
        (
            models.Filter(must=[field("document_id", "document-3")]),
            lambda p: p.payload["document_id"] == "document-3",
        ),
        (
            models.Filter(
                should=[field("document_id", "document-1"), field("document_id", "document-2")],
                must_not=[field("document_version", 0)],
            ),
            lambda p: (
                p.payload["document_id"] in ("document-1", "document-2")
                and p.payload["document_version"] != 0
            ),
        ),
        (
            models.Filter(
                must=[
                    models.FieldCondition(key="ordinal", range=models.Range(gte=4, lt=9)),
                    models.FieldCondition(
                        key="document_id", match=models.MatchAny(any=["document-4", "document-5"])
                    ),
                ]
            ),
            lambda p: (
                4 <= p.payload["ordinal"] < 9
                and p.payload["document_id"] in ("document-4", "document-5")
            ),
        ),
        (models.Filter(must=[models.HasIdCondition(has_id=ids)]), lambda p: p.id in ids),
        (
            models.Filter(
                must=[
                    models.FieldCondition(
                        key="document_id",
                        match=models.MatchExcept(**{"except": ["document-0", "document-1"]}),
                    ),
                    models.FieldCondition(key="metadata.score", range=models.Range(gt=12.5)),
                ]
            ),
            lambda p: (
                p.payload["document_id"] not in ("document-0", "document-1")
                and p.payload["metadata"]["score"] > 12.5
            ),
        ),
    ):
        expected = exact(passages, query, 400, keep)
        assert 0 < len(expected) < len(passages)
        found = client.query_points(
            loaded, query=query.tolist(), using=DENSE, limit=400, query_filter=condition
        )
        agree(found.points, expected)
        counted = client.count(loaded, count_filter=condition, exact=True)
        assert counted.count == len(expected)


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
    query = passages[0].dense.tolist()
    bare = client.query_points(loaded, query=query, using=DENSE, limit=1, with_payload=False)
    assert not bare.points[0].payload
    assert bare.points[0].vector is None
    some = client.query_points(
        loaded, query=query, using=DENSE, limit=1, with_payload=["ordinal"], with_vectors=[DENSE]
    ).points[0]
    assert set(some.payload or {}) == {"ordinal"}
    assert isinstance(some.vector, dict)
    assert set(some.vector) == {DENSE}
    rest = client.query_points(
        loaded,
        query=query,
        using=DENSE,
        limit=1,
        with_payload=models.PayloadSelectorExclude(exclude=["text", "metadata"]),
    ).points[0]
    assert set(rest.payload or {}) == {"document_id", "document_version", "ordinal"}


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


def test_a_sparse_query_finds_what_exact_search_finds(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    query = {3: 1.0, 17: 0.5, 30: 2.0}
    found = client.query_points(
        loaded,
        query=models.SparseVector(indices=list(query), values=list(query.values())),
        using=SPARSE,
        limit=15,
    )
    agree(found.points, exact_sparse(passages, query, 15))


def test_idf_weighs_rare_terms_more(client: QdrantClient, passages: list[Passage]) -> None:
    name = "passages-idf"
    client.delete_collection(name)
    create(client, name, models.Modifier.IDF)
    client.upsert(name, [passage.point() for passage in passages])
    term = 3
    holders = [passage for passage in passages if term in passage.sparse]
    # Qdrant's IDF: ln(1 + (N − n + 0.5) / (n + 0.5))
    idf = math.log(1 + (len(passages) - len(holders) + 0.5) / (len(holders) + 0.5))
    found = client.query_points(
        name, query=models.SparseVector(indices=[term], values=[1.0]), using=SPARSE, limit=5
    )
    client.delete_collection(name)
    agree(found.points, exact_sparse(passages, {term: idf}, 5))


def test_fusion_ranks_by_reciprocal_ranks(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    dense, sparse = passages[9].dense, {3: 1.0, 5: 1.0}
    found = client.query_points(
        loaded,
        prefetch=[
            models.Prefetch(query=dense.tolist(), using=DENSE, limit=10),
            models.Prefetch(
                query=models.SparseVector(indices=list(sparse), values=list(sparse.values())),
                using=SPARSE,
                limit=10,
            ),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=20,
    )
    fused: dict[str, float] = {}
    for ranking in (exact(passages, dense, 10), exact_sparse(passages, sparse, 10)):
        for rank, (passage_id, _) in enumerate(ranking):
            fused[passage_id] = fused.get(passage_id, 0.0) + 1 / (2 + rank)
    scores = {str(point.id): point.score for point in found.points}
    assert scores.keys() == fused.keys()
    assert all(abs(scores[key] - fused[key]) < TOLERANCE for key in fused)


def test_a_query_of_another_dimension_is_refused(client: QdrantClient, loaded: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.query_points(loaded, query=[1.0, 2.0], using=DENSE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_query_by_an_unknown_vector_name_is_refused(client: QdrantClient, loaded: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.query_points(loaded, query=[1.0] * SIZE, using="nobody")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_asynchronous_client_works_as_well(
    edge_server: EdgeServer, passages: list[Passage]
) -> None:
    client: AsyncQdrantClient = edge_server.async_client()
    name = "passages-async"
    await client.create_collection(
        name, vectors_config={DENSE: models.VectorParams(size=SIZE, distance=models.Distance.DOT)}
    )
    await client.upsert(
        name,
        [models.PointStruct(id=p.id, vector={DENSE: p.dense.tolist()}) for p in passages],
    )
    found = await client.query_points(name, query=passages[1].dense.tolist(), using=DENSE, limit=4)
    await client.delete_collection(name)
    await client.close()
    agree(found.points, exact(passages, passages[1].dense, 4))

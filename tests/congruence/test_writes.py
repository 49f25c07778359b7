"""Upserts and deletes, guarded and refused ones, do what Qdrant does."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.conftest import search
from tests.congruence.oracle import DENSE, SIZE, SPARSE, Passage, agree, exact


def point(number: int, version: int) -> models.PointStruct:
    vector = [0.0] * SIZE
    vector[version % SIZE] = 1.0
    return models.PointStruct(id=number, vector={DENSE: vector}, payload={"version": version})


def versions(client: QdrantClient, collection: str) -> dict[int, int]:
    records, _ = client.scroll(collection, limit=100)
    return {int(record.id): (record.payload or {})["version"] for record in records}


def document(*ids: str) -> models.FieldCondition:
    matches: models.Match = (
        models.MatchValue(value=ids[0]) if len(ids) == 1 else models.MatchAny(any=list(ids))
    )
    return models.FieldCondition(key="document_id", match=matches)


def test_an_upsert_overwrites_vector_and_payload(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, [point(1, 1), point(2, 1)])
    client.upsert(collection, [point(1, 5)])
    assert versions(client, collection) == {1: 5, 2: 1}
    query = [0.0] * SIZE
    query[5] = 1.0
    (best,) = search(client, collection, query, limit=1)
    assert (best.id, best.score) == (1, 1.0)


def test_an_update_filter_keeps_newer_points(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, [point(1, 3), point(2, 9)])
    upto = models.FieldCondition(key="version", range=models.Range(lte=6))
    client.upsert(
        collection,
        [point(1, 6), point(2, 6), point(3, 6)],
        update_filter=models.Filter(must=[upto]),
    )
    assert versions(client, collection) == {1: 6, 2: 9, 3: 6}


def test_points_are_deleted_by_id(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    gone = {passage.id for passage in passages[::3]}
    client.delete(loaded, models.PointIdsList(points=list(gone)))
    assert client.count(loaded).count == len(passages) - len(gone)
    query = passages[0].dense
    agree(search(client, loaded, query), exact(passages, query, 10, lambda p: p.id not in gone))


@pytest.mark.parametrize("indexed", [False, True])
def test_points_are_counted_and_deleted_by_filter(
    client: QdrantClient, loaded: str, passages: list[Passage], indexed: bool
) -> None:
    if indexed:
        client.create_payload_index(loaded, "document_id", models.PayloadSchemaType.KEYWORD)
        client.create_payload_index(loaded, "ordinal", models.PayloadSchemaType.INTEGER)
    two = models.Filter(must=[document("document-4", "document-5")])
    assert client.count(loaded, count_filter=two, exact=True).count == 60
    older = models.FieldCondition(key="ordinal", range=models.Range(lt=10))
    client.delete(
        loaded, models.FilterSelector(filter=models.Filter(must=[document("document-7"), older]))
    )
    left = [
        passage
        for passage in passages
        if passage.payload["document_id"] != "document-7" or passage.payload["ordinal"] >= 10
    ]
    assert client.count(loaded).count == len(left) == 290
    query = passages[7].dense
    agree(search(client, loaded, query), exact(left, query, 10))


@pytest.mark.parametrize("vector", [{DENSE: [1.0] * (SIZE + 1)}, {"nobody": [1.0] * SIZE}])
def test_a_batch_with_one_bad_vector_is_refused(
    client: QdrantClient, collection: str, vector: dict[str, list[float]]
) -> None:
    wrong = models.PointStruct(id=2, vector={**vector})
    with pytest.raises(grpc.RpcError) as caught:
        # the engine takes points in no set order: many good ones, so that some come first
        client.upsert(collection, [wrong, *(point(number, 1) for number in range(3, 203))])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    if DENSE in vector:  # of a name that it does not know, Qdrant's server hears in the middle
        assert client.count(collection).count == 0


def test_a_point_may_lack_a_vector(client: QdrantClient, collection: str) -> None:
    sparse = models.SparseVector(indices=[1], values=[1.0])
    client.upsert(collection, [models.PointStruct(id=1, vector={SPARSE: sparse}), point(2, 1)])
    assert [found.id for found in search(client, collection, [1.0] * SIZE)] == [2]
    (found,) = client.retrieve(collection, [1], with_vectors=[DENSE])
    assert found.vector == {}


def test_a_large_batch_goes_in_at_once(client: QdrantClient, collection: str) -> None:
    # more than gRPC's default of 4 MiB
    vectors = np.random.default_rng(3).standard_normal((3000, SIZE)).astype(np.float32)
    text = "x" * 2000
    client.upsert(
        collection,
        [
            models.PointStruct(id=number, vector={DENSE: vector.tolist()}, payload={"text": text})
            for number, vector in enumerate(vectors)
        ],
    )
    assert client.count(collection).count == 3000

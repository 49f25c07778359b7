"""Upserts and deletes, guarded and refused ones, do what Qdrant does."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.oracle import DENSE, SIZE, SPARSE, Passage, agree, exact


def point(number: int, version: int) -> models.PointStruct:
    vector = [0.0] * SIZE
    vector[version % SIZE] = 1.0
    return models.PointStruct(id=number, vector={DENSE: vector}, payload={"version": version})


def versions(client: QdrantClient, collection: str) -> dict[int, int]:
    records, _ = client.scroll(collection, limit=100)
    return {int(record.id): (record.payload or {})["version"] for record in records}


def older_than(version: int) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key="version", range=models.Range(lt=version))]
    )


def test_an_upsert_overwrites_vector_and_payload(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, [point(1, 1), point(2, 1)])
    client.upsert(collection, [point(1, 5)])
    assert versions(client, collection) == {1: 5, 2: 1}
    assert client.count(collection).count == 2
    query = [0.0] * SIZE
    query[5] = 1.0
    best = client.query_points(collection, query=query, using=DENSE, limit=1).points[0]
    assert (best.id, best.score) == (1, 1.0)


def test_an_update_filter_keeps_newer_points(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, [point(1, 3), point(2, 9)])
    client.upsert(
        collection,
        [point(1, 6), point(2, 6), point(3, 6)],
        update_filter=older_than(6),
    )
    assert versions(client, collection) == {1: 6, 2: 9, 3: 6}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (models.UpdateMode.UPSERT, {1: 2, 2: 2}),
        (models.UpdateMode.INSERT_ONLY, {1: 1, 2: 2}),
        (models.UpdateMode.UPDATE_ONLY, {1: 2}),
    ],
)
def test_update_modes_insert_or_update_only(
    client: QdrantClient, collection: str, mode: models.UpdateMode, expected: dict[int, int]
) -> None:
    client.upsert(collection, [point(1, 1)])
    client.upsert(collection, [point(1, 2), point(2, 2)], update_mode=mode)
    assert versions(client, collection) == expected


def test_points_are_deleted_by_id(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    gone = {passage.id for passage in passages[::3]}
    client.delete(loaded, models.PointIdsList(points=list(gone)))
    assert client.count(loaded).count == len(passages) - len(gone)
    query = passages[0].dense
    found = client.query_points(loaded, query=query.tolist(), using=DENSE, limit=10).points
    agree(found, exact(passages, query, 10, lambda passage: passage.id not in gone))


def test_points_are_deleted_by_filter(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    chosen = models.Filter(
        must=[
            models.FieldCondition(key="document_id", match=models.MatchValue(value="document-7")),
            models.FieldCondition(key="ordinal", range=models.Range(gte=20)),
        ]
    )
    client.delete(loaded, models.FilterSelector(filter=chosen))
    left = [
        passage
        for passage in passages
        if passage.payload["document_id"] != "document-7" or passage.payload["ordinal"] < 20
    ]
    assert client.count(loaded).count == len(left) == 290
    found = client.query_points(loaded, query=passages[207].dense.tolist(), using=DENSE, limit=10)
    agree(found.points, exact(left, passages[207].dense, 10))


def test_a_batch_with_one_bad_vector_is_refused_whole(
    client: QdrantClient, collection: str
) -> None:
    wrong = models.PointStruct(id=2, vector={DENSE: [1.0] * (SIZE + 1)})
    with pytest.raises(grpc.RpcError) as caught:
        # the engine takes points in no set order: many good ones, so that some come first
        client.upsert(collection, [wrong, *(point(number, 1) for number in range(3, 203))])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert client.count(collection).count == 0


def test_a_vector_of_an_unknown_name_is_refused(client: QdrantClient, collection: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.upsert(collection, [models.PointStruct(id=1, vector={"nobody": [1.0] * SIZE})])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_point_may_lack_a_vector(client: QdrantClient, collection: str) -> None:
    sparse = models.SparseVector(indices=[1], values=[1.0])
    client.upsert(collection, [models.PointStruct(id=1, vector={SPARSE: sparse}), point(2, 1)])
    found = client.query_points(collection, query=[1.0] * SIZE, using=DENSE).points
    assert [scored.id for scored in found] == [2]


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

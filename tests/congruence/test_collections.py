"""Collections and aliases come, are described and go as in Qdrant."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.conftest import create
from tests.congruence.oracle import DENSE, SIZE, SPARSE, Passage, agree, exact


def refused(code: grpc.StatusCode, call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is code
    return str(caught.value.details())


def point_to(alias: str, collection: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
    )


def drop(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def aliases_of(client: QdrantClient, collection: str) -> set[str]:
    return {alias.alias_name for alias in client.get_collection_aliases(collection).aliases}


@pytest.fixture
def alias() -> str:
    return f"alias-{uuid4().hex}"


def test_a_collection_exists_from_creation_to_deletion(client: QdrantClient) -> None:
    name = f"passages-{uuid4().hex}"
    assert not client.collection_exists(name)
    create(client, name)
    assert client.collection_exists(name)
    assert name in {found.name for found in client.get_collections().collections}
    assert client.delete_collection(name)
    assert not client.collection_exists(name)
    assert name not in {found.name for found in client.get_collections().collections}


def test_deleting_what_is_not_there_says_false(client: QdrantClient) -> None:
    assert not client.delete_collection(f"passages-{uuid4().hex}")


def test_a_deleted_name_can_be_used_again_and_is_empty(client: QdrantClient, loaded: str) -> None:
    client.delete_collection(loaded)
    create(client, loaded)
    assert client.count(loaded).count == 0


def test_a_collection_is_described_as_it_was_created(client: QdrantClient) -> None:
    name = f"passages-{uuid4().hex}"
    client.create_collection(
        name,
        vectors_config={DENSE: models.VectorParams(size=SIZE, distance=models.Distance.DOT)},
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        hnsw_config=models.HnswConfigDiff(m=24),
        metadata={"generation": 7},
    )
    info = client.get_collection(name)
    client.delete_collection(name)
    assert info.status == models.CollectionStatus.GREEN
    assert info.points_count == 0
    assert isinstance(info.config.params.vectors, dict)
    assert info.config.params.vectors[DENSE].size == SIZE
    assert info.config.params.vectors[DENSE].distance == models.Distance.DOT
    assert info.config.params.sparse_vectors is not None
    assert info.config.params.sparse_vectors[SPARSE].modifier == models.Modifier.IDF
    assert info.config.hnsw_config.m == 24
    assert info.config.metadata == {"generation": 7}


def test_payload_indexes_are_described(client: QdrantClient, loaded: str) -> None:
    client.create_payload_index(loaded, "document_id", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(loaded, "ordinal", models.PayloadSchemaType.INTEGER)
    schema = client.get_collection(loaded).payload_schema
    assert schema["document_id"].data_type == models.PayloadSchemaType.KEYWORD
    assert schema["ordinal"].data_type == models.PayloadSchemaType.INTEGER
    client.delete_payload_index(loaded, "ordinal")
    assert set(client.get_collection(loaded).payload_schema) == {"document_id"}


def test_unknown_collections_are_not_found(client: QdrantClient) -> None:
    name = f"passages-{uuid4().hex}"
    for call in (
        lambda: client.get_collection(name),
        lambda: client.count(name),
        lambda: client.query_points(name, query=[1.0] * SIZE, using=DENSE),
        lambda: client.upsert(name, [models.PointStruct(id=1, vector={DENSE: [1.0] * SIZE})]),
    ):
        assert name in refused(grpc.StatusCode.NOT_FOUND, call)


def test_a_name_is_given_once(client: QdrantClient, collection: str) -> None:
    refused(grpc.StatusCode.ALREADY_EXISTS, lambda: create(client, collection))
    assert client.collection_exists(collection)


def test_a_search_by_alias_follows_the_alias(
    client: QdrantClient, loaded: str, alias: str, passages: list[Passage]
) -> None:
    other = f"passages-{uuid4().hex}"
    create(client, other)
    client.upsert(other, [passages[0].point()])
    client.update_collection_aliases([point_to(alias, loaded)])
    query = passages[5].dense
    found = client.query_points(alias, query=query.tolist(), using=DENSE, limit=5).points
    agree(found, exact(passages, query, 5))
    assert client.collection_exists(alias)

    client.update_collection_aliases([point_to(alias, other)])  # re-points, silently
    assert client.count(alias).count == 1
    assert aliases_of(client, other) == {alias}
    assert aliases_of(client, loaded) == set()

    client.delete_collection(other)  # its aliases go with it
    assert alias not in {found.alias_name for found in client.get_aliases().aliases}
    refused(grpc.StatusCode.NOT_FOUND, lambda: client.count(alias))


def test_an_alias_can_be_renamed_and_deleted(
    client: QdrantClient, collection: str, alias: str
) -> None:
    client.update_collection_aliases([point_to(alias, collection)])
    renamed = f"{alias}-renamed"
    client.update_collection_aliases(
        [
            models.RenameAliasOperation(
                rename_alias=models.RenameAlias(old_alias_name=alias, new_alias_name=renamed)
            )
        ]
    )
    assert aliases_of(client, collection) == {renamed}
    client.update_collection_aliases([drop(renamed)])
    assert aliases_of(client, collection) == set()


def test_alias_operations_are_applied_one_by_one(
    client: QdrantClient, collection: str, alias: str
) -> None:
    client.update_collection_aliases([point_to(alias, collection)])
    refused(
        grpc.StatusCode.NOT_FOUND,
        lambda: client.update_collection_aliases([drop(alias), point_to(alias, "missing")]),
    )
    assert aliases_of(client, collection) == set()  # the first of the two was done


def test_an_empty_patch_of_the_optimizers_ends_green(client: QdrantClient, loaded: str) -> None:
    assert client.update_collection(loaded, optimizers_config=models.OptimizersConfigDiff())
    assert client.get_collection(loaded).status in (
        models.CollectionStatus.GREEN,
        models.CollectionStatus.YELLOW,
    )
    assert client.count(loaded).count == 300

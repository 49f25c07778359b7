"""Collections and aliases come, are described and go as in Qdrant."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.conftest import create, search
from tests.congruence.oracle import DENSE, SIZE, SPARSE, Passage, agree, exact


def refused(code: grpc.StatusCode, call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is code
    return str(caught.value.details())


def point_alias(client: QdrantClient, alias: str, collection: str) -> None:
    action = models.CreateAlias(collection_name=collection, alias_name=alias)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=action)])


def aliases(client: QdrantClient) -> dict[str, str]:
    return {each.alias_name: each.collection_name for each in client.get_aliases().aliases}


def test_a_collection_is_described_from_creation_to_deletion(client: QdrantClient) -> None:
    name = f"passages-{uuid4().hex}"
    assert not client.collection_exists(name)
    create(client, name, models.Modifier.IDF)
    assert client.collection_exists(name)
    assert name in {found.name for found in client.get_collections().collections}
    info = client.get_collection(name)
    assert info.status == models.CollectionStatus.GREEN
    assert info.points_count == 0
    assert isinstance(info.config.params.vectors, dict)
    assert info.config.params.vectors[DENSE].size == SIZE
    assert info.config.params.vectors[DENSE].distance == models.Distance.DOT
    assert info.config.params.sparse_vectors is not None
    assert info.config.params.sparse_vectors[SPARSE].modifier == models.Modifier.IDF
    assert client.delete_collection(name)
    assert not client.collection_exists(name)
    assert name not in {found.name for found in client.get_collections().collections}
    assert not client.delete_collection(name)


def test_a_deleted_name_can_be_used_again_and_is_empty(client: QdrantClient, loaded: str) -> None:
    client.delete_collection(loaded)
    create(client, loaded)
    assert client.count(loaded).count == 0


def test_unknown_collections_are_not_found(client: QdrantClient) -> None:
    name = f"passages-{uuid4().hex}"
    for call in (
        lambda: client.get_collection(name),
        lambda: client.count(name),
        lambda: search(client, name, [1.0] * SIZE),
        lambda: client.upsert(name, [models.PointStruct(id=1, vector={DENSE: [1.0] * SIZE})]),
        lambda: point_alias(client, "live", name),
    ):
        assert name in refused(grpc.StatusCode.NOT_FOUND, call)


def test_a_name_is_given_once(client: QdrantClient, collection: str) -> None:
    refused(grpc.StatusCode.ALREADY_EXISTS, lambda: create(client, collection))
    assert client.collection_exists(collection)


def test_a_search_by_alias_follows_the_alias(
    client: QdrantClient, loaded: str, passages: list[Passage]
) -> None:
    alias, other = f"alias-{uuid4().hex}", f"passages-{uuid4().hex}"
    create(client, other)
    client.upsert(other, [passages[0].point()])
    point_alias(client, alias, loaded)
    query = passages[5].dense
    agree(search(client, alias, query, limit=5), exact(passages, query, 5))
    assert client.collection_exists(alias)

    point_alias(client, alias, other)  # re-points, silently
    assert client.count(alias).count == 1
    assert aliases(client)[alias] == other

    client.delete_collection(other)  # its aliases go with it
    assert alias not in aliases(client)
    refused(grpc.StatusCode.NOT_FOUND, lambda: client.count(alias))


def test_optimizing_a_small_collection_changes_nothing(client: QdrantClient, loaded: str) -> None:
    assert client.update_collection(loaded, optimizers_config=models.OptimizersConfigDiff())
    assert client.count(loaded).count == 300

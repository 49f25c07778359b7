"""`realm.search.vector_index` in Qdrant, by gRPC only: a server, or Qdrant Edge behind its own.

Collections of passages for indexer, trainer and command line; search for the gateway, on its event
loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from realm.corpus.passages import Passage
from realm.errors import BadSettings, DependencyUnavailable, NotFound, OutOfSpace
from realm.loopback import is_loopback
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.search.bm25 import SparseVector
from realm.search.qdrant.filters import PayloadIndexes
from realm.search.qdrant.points import (
    BM25,
    DENSE,
    not_newer_than,
    of_documents,
    older_than,
    request,
    to_hits,
    to_point,
)
from realm.search.vector_index import ChangeHooks, Hit, Query
from realm.settings import Settings

TIMEOUT_SECONDS = 30
#: Qdrant has no code of its own for a full disk.
NO_SPACE = re.compile(
    r"no space left|not enough (disk )?space|disk (is )?full|out of disk|quota exceeded"
    r"|exceeds available disk space",
    re.IGNORECASE,
)
ALIAS = "live"


def endpoint(settings: Settings) -> dict[str, Any]:
    """What a client is made of, a blocking or an asyncio one."""
    parts = urlsplit(settings.addresses.qdrant_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSettings(
            f"REALM_QDRANT_URL is {settings.addresses.qdrant_url!r};"
            " give http://host:6334, the gRPC port"
        )
    own = is_loopback(parts.hostname)
    return {
        # No proxy stands between this machine and itself; the client's other half speaks HTTP.
        **({"grpc_options": {"grpc.enable_http_proxy": 0}, "trust_env": False} if own else {}),
        "host": parts.hostname,
        "grpc_port": parts.port or 6334,
        "https": parts.scheme == "https",
        "api_key": settings.addresses.qdrant_api_key or None,
        "timeout": TIMEOUT_SECONDS,
        "prefer_grpc": True,
        "check_compatibility": False,
    }


#: What a call that was answered by an error raises, in a blocking and in an asyncio client.
ANSWERED = (grpc.Call, grpc.aio.AioRpcError)


@contextmanager
def reachable() -> Iterator[None]:
    """Turns the client's errors into ours."""
    try:
        yield
    except grpc.RpcError as error:
        if isinstance(error, ANSWERED) and error.code() == grpc.StatusCode.NOT_FOUND:
            raise NotFound(f"Qdrant: {error.details()}") from error
        answered = isinstance(error, ANSWERED)
        why = f"{error.code().name}: {error.details()}" if answered else str(error)
        raise _unavailable(why) from error
    except (ApiException, ResponseHandlingException, OSError) as error:
        raise _unavailable(str(error)) from error


def _unavailable(why: str) -> DependencyUnavailable:
    if NO_SPACE.search(why):
        return OutOfSpace(f"Qdrant has no space left: {why}")
    return DependencyUnavailable(f"Qdrant does not serve: {why}")


class QdrantIndex:
    """`VectorIndex` over Qdrant."""

    def __init__(self, settings: Settings, hooks: ChangeHooks) -> None:
        self.full = ""
        self._hooks = hooks
        self._client = QdrantClient(**endpoint(settings))
        self._batch = settings.indexer.upsert_points
        self._indexes = PayloadIndexes(settings.corpus.filter_keys.split(","))

    def create(self, collection: str, vector_size: int) -> None:
        self._hooks.before_drop(collection)
        with self._changing(collection):
            if self._client.collection_exists(collection):
                self._client.delete_collection(collection, timeout=TIMEOUT_SECONDS)
            vectors = {}
            if vector_size:
                distance = models.Distance.DOT
                vectors[DENSE] = models.VectorParams(size=vector_size, distance=distance)
            self._client.create_collection(
                collection,
                vectors_config=vectors,
                # Without Qdrant's own IDF, which it reckons shard by shard: questions bring theirs.
                sparse_vectors_config={BM25: models.SparseVectorParams()},
                timeout=TIMEOUT_SECONDS,
            )
            own = {
                "document_id": models.PayloadSchemaType.KEYWORD,
                "document_version": models.PayloadSchemaType.INTEGER,
            }
            self._index_payload(collection, {**own, **self._indexes.of_new(collection)})

    def exists(self, collection: str) -> bool:
        with reachable():
            return bool(self._client.collection_exists(collection))

    def collections(self) -> list[str]:
        with reachable():
            found = self._client.get_collections().collections
        return sorted(each.name for each in found)

    def optimise(self, collection: str) -> None:
        # A server optimises by itself while a collection is filled; the engine on one machine
        # does when it is asked.
        with self._changing(collection):
            self._client.update_collection(
                collection,
                optimizers_config=models.OptimizersConfigDiff(),
                timeout=TIMEOUT_SECONDS,
            )

    def is_optimising(self, collection: str) -> bool:
        try:
            with reachable():
                found = self._client.get_collection(collection)
        except NotFound:
            return False
        return bool(found.status == models.CollectionStatus.YELLOW)

    def drop(self, collection: str) -> None:
        self._hooks.before_drop(collection)
        self._hooks.before_change()
        self._indexes.forget(collection)
        with reachable():
            self._client.delete_collection(collection, timeout=TIMEOUT_SECONDS)
        self.full = ""

    def upsert(
        self, collection: str, passages: Sequence[Passage], vectors: Vectors, weighing: Weighing
    ) -> None:
        for start in range(0, len(passages), self._batch):
            batch = passages[start : start + self._batch]
            points = [
                to_point(passage, vector, weighing)
                for passage, vector in zip(batch, vectors[start:], strict=False)
            ]
            newest = max(passage.document_version for passage in batch)
            with self._changing(collection):
                self._index_metadata(collection, batch)
                self._client.upsert(
                    collection, points, wait=True, update_filter=not_newer_than(newest)
                )

    def delete_older(self, collection: str, document_id: str, version: int) -> None:
        older = models.FilterSelector(filter=older_than(document_id, version))
        with self._changing(collection):
            self._client.delete(collection, older, wait=True)

    def count(self, collection: str) -> int:
        with reachable():
            return int(self._client.count(collection, exact=True).count)

    def count_of(self, collection: str, *document_ids: str) -> int:
        theirs = of_documents(document_ids)
        with reachable():
            return int(self._client.count(collection, count_filter=theirs, exact=True).count)

    def versions(self, collection: str, passage_ids: Sequence[str]) -> dict[str, int]:
        with reachable():
            records = self._client.retrieve(
                collection, list(passage_ids), with_payload=["document_version"]
            )
        return {
            str(each.id): int((each.payload or {}).get("document_version", 0)) for each in records
        }

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]:
        found = self._stored(collection, passage_ids, DENSE)
        return {name: np.asarray(vector, dtype=np.float32) for name, vector in found.items()}

    def weights(self, collection: str, passage_ids: Sequence[str]) -> dict[str, SparseVector]:
        found = self._stored(collection, passage_ids, BM25)
        return {name: SparseVector(each.indices, each.values) for name, each in found.items()}

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        asked = [request(query, limit) for query in queries]
        wanted = [each for each in asked if each is not None]
        if not wanted:
            return [[] for _ in queries]
        with reachable():
            answers = iter(
                self._client.query_batch_points(collection, wanted, timeout=TIMEOUT_SECONDS)
            )
        return [
            to_hits(next(answers).points, query) if each is not None else []
            for query, each in zip(queries, asked, strict=True)
        ]

    def alias(self) -> str | None:
        with reachable():
            aliases = self._client.get_aliases().aliases
        return next((each.collection_name for each in aliases if each.alias_name == ALIAS), None)

    def point_alias(self, collection: str) -> None:
        # One CreateAlias re-points silently and is atomic.
        operation = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=ALIAS)
        )
        self._hooks.before_change()
        with reachable():
            self._client.update_collection_aliases([operation], timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _changing(self, collection: str) -> Iterator[None]:
        self._hooks.before_change()
        try:
            with reachable():
                yield
            self.full = ""
        except OutOfSpace as error:
            self.full = error.message
            raise
        finally:
            self._hooks.after_change(collection)

    def _index_metadata(self, collection: str, passages: Sequence[Passage]) -> None:
        """Before they are written: filters on what they bring are quick from the first search."""

        def present() -> int:
            return len(self._client.get_collection(collection).payload_schema)

        metadata = [passage.metadata for passage in passages]
        self._index_payload(collection, self._indexes.missing(collection, metadata, present))

    def _index_payload(
        self, collection: str, indexes: Mapping[str, models.PayloadSchemaType]
    ) -> None:
        try:
            for name, kind in indexes.items():
                self._client.create_payload_index(collection, name, field_schema=kind, wait=True)
        except BaseException:
            self._indexes.forget(collection)
            raise

    def _stored(self, collection: str, passage_ids: Sequence[str], name: str) -> dict[str, Any]:
        with reachable():
            records = self._client.retrieve(
                collection, ids=list(passage_ids), with_payload=False, with_vectors=[name]
            )
        found: dict[str, Any] = {}
        for record in records:
            assert isinstance(record.vector, dict)
            if name in record.vector:
                found[str(record.id)] = record.vector[name]
        return found


class QdrantSearch:
    """`VectorSearch` over Qdrant."""

    def __init__(self, settings: Settings) -> None:
        self._client = AsyncQdrantClient(**endpoint(settings))

    async def search(self, collection: str, query: Query, limit: int, timeout: float) -> list[Hit]:
        asked = request(query, limit)
        if asked is None:
            return []
        with reachable():
            (answer,) = await self._client.query_batch_points(
                collection, [asked], timeout=max(1, round(timeout))
            )
        return to_hits(answer.points, query)

    async def close(self) -> None:
        await self._client.close()

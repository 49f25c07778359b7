"""Passages in Qdrant: one collection a generation, searched by its own name.

`PassageIndex` is the indexer's and trainer's (blocking); `AsyncPassageSearch` the gateway's.
Both speak gRPC only, so that they run unchanged against Qdrant Edge behind its server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from realm.corpus.passages import Passage
from realm.errors import BadSettings, DependencyUnavailable, NotFound
from realm.settings import Settings
from realm.vectors import Vectors

ALIAS = "live"
DENSE = "dense"
TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage as the collection holds it: text and origin, no token ids."""

    passage_id: str
    document_id: str
    document_version: int
    ordinal: int
    title: str
    text: str
    start: int
    end: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found; `score` is the inner product, not yet scaled by s."""

    passage: IndexedPassage
    score: float


class PassageIndex:
    """Creates, fills, searches and drops collections, and points the alias."""

    def __init__(self, settings: Settings) -> None:
        self._client = QdrantClient(
            **_endpoint(settings), prefer_grpc=True, check_compatibility=False
        )
        self._batch = settings.upsert_points

    def create(self, collection: str, vector_size: int) -> None:
        """Makes an empty collection, replacing a half-built one of the same name."""
        with _reachable():
            if self._client.collection_exists(collection):
                self._client.delete_collection(collection, timeout=TIMEOUT_SECONDS)
            self._client.create_collection(
                collection,
                vectors_config={
                    DENSE: models.VectorParams(size=vector_size, distance=models.Distance.DOT)
                },
                timeout=TIMEOUT_SECONDS,
            )
            for field, kind in (
                ("document_id", models.PayloadSchemaType.KEYWORD),
                ("document_version", models.PayloadSchemaType.INTEGER),
            ):
                self._client.create_payload_index(collection, field, field_schema=kind, wait=True)

    def exists(self, collection: str) -> bool:
        with _reachable():
            return bool(self._client.collection_exists(collection))

    def collections(self) -> list[str]:
        with _reachable():
            found = self._client.get_collections().collections
        return sorted(each.name for each in found)

    def drop(self, collection: str) -> None:
        """One that is not there is no error."""
        with _reachable():
            self._client.delete_collection(collection, timeout=TIMEOUT_SECONDS)

    def upsert(self, collection: str, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Writes passages with their vectors [passages, size]; searchable on return."""
        for start in range(0, len(passages), self._batch):
            rows = range(start, min(start + self._batch, len(passages)))
            points = [
                models.PointStruct(
                    id=passages[row].passage_id,
                    vector={DENSE: vectors[row].tolist()},
                    payload=_payload(passages[row]),
                )
                for row in rows
            ]
            with _reachable():
                self._client.upsert(collection, points, wait=True)

    def delete_older(self, collection: str, document_id: str, version: int) -> None:
        """Deletes a document's passages that are older than a version of it."""
        older = models.Filter(
            must=[
                models.FieldCondition(
                    key="document_id", match=models.MatchValue(value=document_id)
                ),
                models.FieldCondition(key="document_version", range=models.Range(lt=version)),
            ]
        )
        with _reachable():
            self._client.delete(collection, models.FilterSelector(filter=older), wait=True)

    def count(self, collection: str) -> int:
        with _reachable():
            return int(self._client.count(collection, exact=True).count)

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]:
        """The stored vectors [size] of those passages that are there."""
        with _reachable():
            records = self._client.retrieve(
                collection, ids=list(passage_ids), with_payload=False, with_vectors=[DENSE]
            )
        found: dict[str, Vectors] = {}
        for record in records:
            assert isinstance(record.vector, dict)
            found[str(record.id)] = np.asarray(record.vector[DENSE], dtype=np.float32)
        return found

    def search(self, collection: str, queries: Vectors, limit: int) -> list[list[Hit]]:
        """The best passages for each of queries [n, size], best first."""
        with _reachable():
            answers = self._client.query_batch_points(
                collection, [_request(query, limit) for query in queries], timeout=TIMEOUT_SECONDS
            )
        return [[_hit(point) for point in answer.points] for answer in answers]

    def alias(self) -> str | None:
        """The collection that the alias `live` points to."""
        with _reachable():
            aliases = self._client.get_aliases().aliases
        return next((each.collection_name for each in aliases if each.alias_name == ALIAS), None)

    def point_alias(self, collection: str) -> None:
        """One CreateAlias re-points silently and is atomic."""
        operation = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=ALIAS)
        )
        with _reachable():
            self._client.update_collection_aliases([operation], timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        self._client.close()


class AsyncPassageSearch:
    """Searches a collection without blocking the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._client = AsyncQdrantClient(
            **_endpoint(settings), prefer_grpc=True, check_compatibility=False
        )

    async def search(
        self, collection: str, queries: Vectors, limit: int, timeout: float
    ) -> list[list[Hit]]:
        """The best passages for each of queries [n, size], best first; `timeout` in seconds."""
        with _reachable():
            answers = await self._client.query_batch_points(
                collection,
                [_request(query, limit) for query in queries],
                timeout=max(1, round(timeout)),
            )
        return [[_hit(point) for point in answer.points] for answer in answers]

    async def close(self) -> None:
        await self._client.close()


def _endpoint(settings: Settings) -> dict[str, Any]:
    parts = urlsplit(settings.qdrant_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSettings(
            f"REALM_QDRANT_URL is {settings.qdrant_url!r}; give http://host:6334, the gRPC port"
        )
    return {
        "host": parts.hostname,
        "grpc_port": parts.port or 6334,
        "https": parts.scheme == "https",
        "api_key": settings.qdrant_api_key or None,
        "timeout": TIMEOUT_SECONDS,
    }


def _request(query: Vectors, limit: int) -> models.QueryRequest:
    return models.QueryRequest(
        query=query.tolist(), using=DENSE, limit=limit, with_payload=True, with_vector=False
    )


def _payload(passage: Passage) -> dict[str, object]:
    return {
        "document_id": passage.document_id,
        "document_version": passage.document_version,
        "ordinal": passage.ordinal,
        "title": passage.title,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "metadata": passage.metadata,
    }


def _hit(point: models.ScoredPoint) -> Hit:
    payload = point.payload or {}
    passage = IndexedPassage(
        passage_id=str(point.id),
        document_id=payload["document_id"],
        document_version=int(payload["document_version"]),
        ordinal=int(payload["ordinal"]),
        title=payload["title"],
        text=payload["text"],
        start=int(payload["start"]),
        end=int(payload["end"]),
        metadata=payload.get("metadata") or {},
    )
    return Hit(passage, point.score)


@contextmanager
def _reachable() -> Iterator[None]:
    """Turns the client's many errors into ours."""
    try:
        yield
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call) else None
        if code == grpc.StatusCode.NOT_FOUND:
            raise NotFound(f"Qdrant: {error.details()}") from error
        raise DependencyUnavailable(f"Qdrant does not serve: {_words(error)}") from error
    except (ApiException, ResponseHandlingException, OSError) as error:
        raise DependencyUnavailable(f"Qdrant does not serve: {error}") from error


def _words(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)

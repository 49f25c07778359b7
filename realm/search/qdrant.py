"""Passages in Qdrant: one collection a generation, searched by its own name.

`PassageIndex` is the indexer's and trainer's (blocking); `AsyncPassageSearch` the gateway's.
Both speak gRPC only, so that they run unchanged against Qdrant Edge behind its server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from realm.corpus.passages import Passage
from realm.errors import NotFound, OutOfSpace
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import SparseVector, passage_weights
from realm.search.fusion import FUSED, RRF_K
from realm.search.qdrant_connection import TIMEOUT_SECONDS, endpoint, reachable
from realm.settings import Settings

ALIAS = "live"
DENSE = "dense"
BM25 = "bm25"


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
class Query:
    """A question as a collection is asked it: vector [size], terms, and which of them choose."""

    vector: Vectors
    terms: SparseVector
    retrieval: Retrieval = Retrieval.DENSE


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found; `score` is the inner product, not yet scaled by s, whatever chose it."""

    passage: IndexedPassage
    score: float


class PassageIndex:
    """Creates, fills, searches and drops collections, and points the alias."""

    def __init__(
        self,
        settings: Settings,
        before_change: Callable[[], None] = lambda: None,
        after_change: Callable[[str], None] = lambda collection: None,
        before_drop: Callable[[str], None] = lambda collection: None,
    ) -> None:
        """:param before_change: called before whatever changes Qdrant; may refuse.
        :param after_change: called after whatever changed a collection, or failed to.
        :param before_drop: called with the name of a collection that is to go; may refuse.
        """
        self._before_change = before_change
        self._after_change = after_change
        self._before_drop = before_drop
        #: Why Qdrant refused the last change to points, if for want of space; else empty.
        self.full = ""
        self._client = QdrantClient(
            **endpoint(settings), prefer_grpc=True, check_compatibility=False
        )
        self._batch = settings.indexer.upsert_points

    def create(self, collection: str, vector_size: int) -> None:
        """Makes an empty collection, replacing a half-built one of the same name."""
        self._before_drop(collection)
        with self._changing(collection):
            if self._client.collection_exists(collection):
                self._client.delete_collection(collection, timeout=TIMEOUT_SECONDS)
            self._client.create_collection(
                collection,
                vectors_config={
                    DENSE: models.VectorParams(size=vector_size, distance=models.Distance.DOT)
                },
                sparse_vectors_config={
                    BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)
                },
                timeout=TIMEOUT_SECONDS,
            )
            for field, kind in (
                ("document_id", models.PayloadSchemaType.KEYWORD),
                ("document_version", models.PayloadSchemaType.INTEGER),
            ):
                self._client.create_payload_index(collection, field, field_schema=kind, wait=True)

    def exists(self, collection: str) -> bool:
        with reachable():
            return bool(self._client.collection_exists(collection))

    def collections(self) -> list[str]:
        with reachable():
            found = self._client.get_collections().collections
        return sorted(each.name for each in found)

    def optimise(self, collection: str) -> None:
        """Has Qdrant begin to build what its thresholds ask for, as HNSW; a server does that by
        itself while a collection is filled, the engine on one machine when it is asked."""
        with self._changing(collection):
            self._client.update_collection(
                collection,
                optimizers_config=models.OptimizersConfigDiff(),
                timeout=TIMEOUT_SECONDS,
            )

    def is_optimising(self, collection: str) -> bool:
        """Whether Qdrant is at work on a collection's indexes: searches are slower until then.
        On one that is not there it is not."""
        try:
            with reachable():
                found = self._client.get_collection(collection)
        except NotFound:
            return False
        return bool(found.status == models.CollectionStatus.YELLOW)

    def drop(self, collection: str) -> None:
        """One that is not there is no error."""
        self._before_drop(collection)
        self._before_change()
        with reachable():
            self._client.delete_collection(collection, timeout=TIMEOUT_SECONDS)
        self.full = ""

    def upsert(
        self, collection: str, passages: Sequence[Passage], vectors: Vectors, average_terms: float
    ) -> None:
        """Writes passages with their vectors [passages, size]; searchable on return. What comes
        late puts no older version in the place of a newer one.

        :param average_terms: the passage length that the generation's BM25 weights refer to.
        """
        for start in range(0, len(passages), self._batch):
            rows = range(start, min(start + self._batch, len(passages)))
            points = [
                models.PointStruct(
                    id=passages[row].passage_id,
                    vector={
                        DENSE: vectors[row].tolist(),
                        BM25: _sparse(_weights(passages[row], average_terms)),
                    },
                    payload=_payload(passages[row]),
                )
                for row in rows
            ]
            with self._changing(collection):
                self._client.upsert(
                    collection, points, wait=True, update_filter=_not_newer(passages, rows)
                )

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
        with self._changing(collection):
            self._client.delete(collection, models.FilterSelector(filter=older), wait=True)

    def count(self, collection: str) -> int:
        with reachable():
            return int(self._client.count(collection, exact=True).count)

    def count_of(self, collection: str, *document_ids: str) -> int:
        """How many passages of some documents a collection has."""
        theirs = models.MatchAny(any=list(document_ids))
        mine = models.FieldCondition(key="document_id", match=theirs)
        with reachable():
            found = self._client.count(
                collection, count_filter=models.Filter(must=[mine]), exact=True
            )
        return int(found.count)

    def versions(self, collection: str, passage_ids: Sequence[str]) -> dict[str, int]:
        """The document versions of those passages that are there."""
        with reachable():
            records = self._client.retrieve(
                collection, list(passage_ids), with_payload=["document_version"]
            )
        return {
            str(each.id): int((each.payload or {}).get("document_version", 0)) for each in records
        }

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]:
        """The stored vectors [size] of those passages that are there."""
        return {
            passage_id: np.asarray(vector, dtype=np.float32)
            for passage_id, vector in self._stored(collection, passage_ids, DENSE).items()
        }

    def weights(self, collection: str, passage_ids: Sequence[str]) -> dict[str, SparseVector]:
        """The stored BM25 weights of those passages that are there."""
        return {
            passage_id: SparseVector(vector.indices, vector.values)
            for passage_id, vector in self._stored(collection, passage_ids, BM25).items()
        }

    def search(self, collection: str, queries: Vectors, limit: int) -> list[list[Hit]]:
        """The best passages for each of queries [n, size], best first."""
        with reachable():
            answers = self._client.query_batch_points(
                collection, [_request(query, limit) for query in queries], timeout=TIMEOUT_SECONDS
            )
        return [[_hit(point) for point in answer.points] for answer in answers]

    def search_words(
        self, collection: str, questions: Sequence[SparseVector], limit: int
    ) -> list[list[IndexedPassage]]:
        """The passages that BM25 puts first for each question; none for one without a word."""
        asked = [number for number, one in enumerate(questions) if one.indices]
        requests = [
            models.QueryRequest(
                query=_sparse(questions[number]), using=BM25, limit=limit, with_payload=True
            )
            for number in asked
        ]
        found: list[list[IndexedPassage]] = [[] for _ in questions]
        if requests:
            with reachable():
                answers = self._client.query_batch_points(
                    collection, requests, timeout=TIMEOUT_SECONDS
                )
            for number, answer in zip(asked, answers, strict=True):
                found[number] = [_hit(point).passage for point in answer.points]
        return found

    @contextmanager
    def _changing(self, collection: str) -> Iterator[None]:
        self._before_change()
        try:
            with reachable():
                yield
            self.full = ""
        except OutOfSpace as error:
            self.full = error.message
            raise
        finally:
            self._after_change(collection)

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

    def alias(self) -> str | None:
        """The collection that the alias `live` points to."""
        with reachable():
            aliases = self._client.get_aliases().aliases
        return next((each.collection_name for each in aliases if each.alias_name == ALIAS), None)

    def point_alias(self, collection: str) -> None:
        """One CreateAlias re-points silently and is atomic."""
        operation = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=ALIAS)
        )
        self._before_change()
        with reachable():
            self._client.update_collection_aliases([operation], timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        self._client.close()


class AsyncPassageSearch:
    """Searches a collection without blocking the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._client = AsyncQdrantClient(
            **endpoint(settings), prefer_grpc=True, check_compatibility=False
        )

    async def search(self, collection: str, query: Query, limit: int, timeout: float) -> list[Hit]:
        """The passages that `query.retrieval` puts first, best first; `timeout` in seconds."""
        request = _choice(query, limit)
        if request is None:
            return []
        with reachable():
            (answer,) = await self._client.query_batch_points(
                collection, [request], timeout=max(1, round(timeout))
            )
        if not request.with_vector:
            return [_hit(point) for point in answer.points]
        return [_hit(point, _product(point, query.vector)) for point in answer.points]

    async def close(self) -> None:
        await self._client.close()


def _request(query: Vectors, limit: int) -> models.QueryRequest:
    return models.QueryRequest(
        query=query.tolist(), using=DENSE, limit=limit, with_payload=True, with_vector=False
    )


def _choice(query: Query, limit: int) -> models.QueryRequest | None:
    """What to ask; None where there is nothing to ask: words alone, and no word is there."""
    if query.retrieval is Retrieval.DENSE or not query.terms.indices:
        return _request(query.vector, limit) if query.retrieval is not Retrieval.BM25 else None
    words = _sparse(query.terms)
    if query.retrieval is Retrieval.BM25:
        return models.QueryRequest(
            query=words, using=BM25, limit=limit, with_payload=True, with_vector=[DENSE]
        )
    return models.QueryRequest(
        prefetch=[
            models.Prefetch(query=query.vector.tolist(), using=DENSE, limit=FUSED),
            models.Prefetch(query=words, using=BM25, limit=FUSED),
        ],
        # Qdrant counts ranks from 0, the paper from 1.
        query=models.RrfQuery(rrf=models.Rrf(k=RRF_K + 1)),
        limit=limit,
        with_payload=True,
        with_vector=[DENSE],
    )


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices, values=vector.values)


def _not_newer(passages: Sequence[Passage], rows: range) -> models.Filter:
    """Points that no row of a batch is older than."""
    newest = max(passages[row].document_version for row in rows)
    upto = models.FieldCondition(key="document_version", range=models.Range(lte=newest))
    return models.Filter(must=[upto])


def _weights(passage: Passage, average_terms: float) -> SparseVector:
    return passage_weights(passage.terms, passage.term_counts, average_terms)


def _product(point: models.ScoredPoint, query: Vectors) -> float:
    """⟨x, z⟩ of a passage that was not, or not only, found by it."""
    assert isinstance(point.vector, dict)
    return float(np.asarray(point.vector[DENSE], np.float32) @ query)


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


def _hit(point: models.ScoredPoint, product: float | None = None) -> Hit:
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
    return Hit(passage, point.score if product is None else product)

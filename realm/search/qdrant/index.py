"""`realm.search.vector_index` in Qdrant, by gRPC only: a server, or Qdrant Edge behind its own.

Collections of passages for indexer, trainer and command line; search for the gateway, on its event
loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import structlog
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from realm.corpus.passages import Passage
from realm.errors import NotFound, OutOfSpace
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.search.bm25 import SparseVector
from realm.search.qdrant.connections import AsyncConnections, Behind, Connections
from realm.search.qdrant.copies import Copies
from realm.search.qdrant.filters import PayloadIndexes
from realm.search.qdrant.points import (
    BM25,
    DENSE,
    MARK,
    marked_version,
    not_newer_mark,
    not_newer_than,
    of_documents,
    older_than,
    to_mark,
    to_point,
)
from realm.search.qdrant.searches import batch, mark_request, proved_version, request, to_hits
from realm.search.vector_index import ChangeHooks, Found, Hit, OnPeer, Query
from realm.settings import Settings

#: How long Qdrant waits for every peer to take part in a new collection; it exists without them.
CREATE_SECONDS = 5
ALIAS = "live"
#: Of so many peers and collections it is remembered what they proved.
PROOFS_KEPT = 256

T = TypeVar("T")

log = structlog.get_logger(__name__)


class QdrantIndex:
    """`VectorIndex` over Qdrant."""

    def __init__(self, settings: Settings, hooks: ChangeHooks) -> None:
        self.full = ""
        self._hooks = hooks
        self._qdrant = Connections(settings)
        self._qdrant.watched.watch(hooks.on_peer)
        self._batch = settings.indexer.upsert_points
        self._indexes = PayloadIndexes(settings.corpus.filter_keys.split(","))
        #: By collection: the corpus version that a copy must have to be believed.
        self._expected: dict[str, int] = {}
        #: Collections that this process began to make, and are empty.
        self._begun: set[str] = set()

    def create(self, collection: str, vector_size: int) -> None:
        self._hooks.before_drop(collection)
        vectors = {}
        if vector_size:
            vectors[DENSE] = models.VectorParams(size=vector_size, distance=models.Distance.DOT)

        def make(client: QdrantClient) -> None:
            if client.collection_exists(collection):
                return
            client.create_collection(
                collection,
                vectors_config=vectors,
                # Without Qdrant's own IDF, which it reckons shard by shard: questions bring theirs.
                sparse_vectors_config={BM25: models.SparseVectorParams()},
                shard_number=1,
                timeout=CREATE_SECONDS,
            )

        with self._changing(collection):
            if collection not in self._begun:
                if self.exists(collection):
                    self._delete(collection)
                self._begun.add(collection)
            self._qdrant.change(make)
            own = {
                "document_id": models.PayloadSchemaType.KEYWORD,
                "document_version": models.PayloadSchemaType.INTEGER,
            }
            self._index_payload(collection, {**own, **self._indexes.of_new(collection)})
            self._begun.discard(collection)

    def exists(self, collection: str) -> bool:
        def find(client: QdrantClient) -> None:
            if not client.collection_exists(collection):
                raise NotFound(f"Qdrant: there is no collection {collection}")

        try:
            self._qdrant.look(find)
        except NotFound:
            return False
        return True

    def collections(self) -> list[str]:
        found = self._qdrant.look(lambda client: client.get_collections().collections)
        return sorted(each.name for each in found)

    def optimise(self, collection: str) -> None:
        # A server optimises by itself while a collection is filled; the engine on one machine
        # does when it is asked.
        with self._changing(collection):
            self._qdrant.change(
                lambda client: client.update_collection(
                    collection,
                    optimizers_config=models.OptimizersConfigDiff(),
                )
            )

    def is_optimising(self, collection: str) -> bool:
        try:
            found = self._qdrant.look(lambda client: client.get_collection(collection))
        except NotFound:
            return False
        return bool(found.status == models.CollectionStatus.YELLOW)

    def drop(self, collection: str) -> None:
        self._hooks.before_drop(collection)
        self._hooks.before_change()
        self._delete(collection)
        self.full = ""

    def upsert(
        self, collection: str, passages: Sequence[Passage], vectors: Vectors, weighing: Weighing
    ) -> None:
        for start in range(0, len(passages), self._batch):
            part = passages[start : start + self._batch]
            points = [
                to_point(passage, vector, weighing)
                for passage, vector in zip(part, vectors[start:], strict=False)
            ]
            newest = max(passage.document_version for passage in part)
            with self._changing(collection):
                self._index_metadata(collection, part)
                self._write(collection, points, newest)

    def delete_older(self, collection: str, versions: Mapping[str, int]) -> None:
        documents = list(versions.items())
        for start in range(0, len(documents), self._batch):
            older = older_than(dict(documents[start : start + self._batch]))
            with self._changing(collection):
                self._delete_points(collection, older)

    def mark(self, collection: str, version: int) -> None:
        guard = not_newer_mark(version)  # a late call takes nothing back
        with self._changing(collection):
            self._qdrant.change(
                lambda client: client.upsert(
                    collection, [to_mark(version)], wait=True, update_filter=guard
                )
            )
        self.expect(collection, version)

    def expect(self, collection: str, version: int) -> None:
        self._expected[collection] = max(version, self._expected.get(collection, 0))

    def marked(self, collection: str) -> int:
        return marked_version(self._qdrant.look(lambda client: client.retrieve(collection, [MARK])))

    def count(self, collection: str) -> int:
        def counted(client: QdrantClient) -> int:
            marks = client.retrieve(collection, [MARK], with_payload=False)
            return int(client.count(collection, exact=True).count) - len(marks)

        return self._held(collection, counted)

    def count_of(self, collection: str, *document_ids: str) -> int:
        theirs = of_documents(document_ids)
        found = self._held(
            collection, lambda client: client.count(collection, count_filter=theirs, exact=True)
        )
        return int(found.count)

    def versions(self, collection: str, passage_ids: Sequence[str]) -> dict[str, int]:
        records = self._held(
            collection,
            lambda client: client.retrieve(
                collection, list(passage_ids), with_payload=["document_version"]
            ),
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

    def restore_copies(self, collection: str) -> int:
        if len(self._qdrant.watched.peers) == 1:
            return 0
        seen = self._qdrant.each(lambda client: client.collection_cluster_info(collection))
        found = self._qdrant.look(lambda client: client.get_collection(collection))
        wanted = found.config.params.replication_factor or 1
        answering = frozenset(each.peer_id for each in seen)
        # A peer that lags knows of fewer.
        told = [Copies.of(each, wanted, answering) for each in seen]
        copies = max(told, key=lambda each: sum(map(len, each.states.values())), default=None)
        if copies is None:
            return 0
        if (lacking := copies.next_copy()) is not None:
            operation = models.ReplicateShardOperation(replicate_shard=lacking)
            self._hooks.before_change()
            self._qdrant.change(
                lambda client: client.cluster_collection_update(collection, operation)
            )
            log.info(
                "copy_begun", collection=collection, shard=lacking.shard_id,
                from_peer=lacking.from_peer_id, to_peer=lacking.to_peer_id,
            )  # fmt: skip
        return copies.missing

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        asked = [request(collection, query, limit) for query in queries]
        wanted = [each for each in asked if each is not None]
        if not wanted:
            return [[] for _ in queries]

        def ask(client: QdrantClient) -> Any:
            seconds: int = client.init_options["timeout"]
            return client.grpc_points.QueryBatch(batch(*wanted, seconds=seconds), timeout=seconds)

        found = iter(self._held(collection, ask).result)
        return [
            to_hits(next(found).result, query) if each is not None else []
            for query, each in zip(queries, asked, strict=True)
        ]

    def alias(self) -> str | None:
        aliases = self._qdrant.look(lambda client: client.get_aliases().aliases)
        return next((each.collection_name for each in aliases if each.alias_name == ALIAS), None)

    def point_alias(self, collection: str) -> None:
        # One CreateAlias re-points silently and is atomic.
        operation = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=ALIAS)
        )
        self._hooks.before_change()
        self._qdrant.change(lambda client: client.update_collection_aliases([operation]))

    def close(self) -> None:
        self._qdrant.close()

    @contextmanager
    def _changing(self, collection: str) -> Iterator[None]:
        self._hooks.before_change()
        try:
            yield
            self.full = ""
        except OutOfSpace as error:
            self.full = error.message
            raise
        finally:
            self._hooks.after_change(collection)

    def _held(self, collection: str, call: Callable[[QdrantClient], T]) -> T:
        """What a copy says that has all that is expected; one that was frozen is sure of itself."""
        expected = self._expected.get(collection, 0)
        if not expected or len(self._qdrant.watched.peers) == 1:
            return self._qdrant.look(call)

        def ask(client: QdrantClient) -> T:
            has = marked_version(client.retrieve(collection, [MARK]))
            found = call(client)
            if has < expected:
                raise Behind(found, has)
            return found

        return self._qdrant.look(ask)

    def _delete(self, collection: str) -> None:
        self._indexes.forget(collection)
        self._expected.pop(collection, None)
        self._qdrant.change(lambda client: client.delete_collection(collection))
        self._begun.discard(collection)

    def _delete_points(self, collection: str, chosen: models.Filter) -> None:
        selector = models.FilterSelector(filter=chosen)
        self._qdrant.change(lambda client: client.delete(collection, selector, wait=True))

    def _write(self, collection: str, points: list[models.PointStruct], newest: int) -> None:
        guard = not_newer_than(newest)
        self._qdrant.change(
            lambda client: client.upsert(collection, points, wait=True, update_filter=guard)
        )

    def _index_metadata(self, collection: str, passages: Sequence[Passage]) -> None:
        """Before they are written: filters on what they bring are quick from the first search."""

        def present() -> int:
            found = self._qdrant.look(lambda client: client.get_collection(collection))
            return len(found.payload_schema)

        metadata = [passage.metadata for passage in passages]
        self._index_payload(collection, self._indexes.missing(collection, metadata, present))

    def _index_payload(
        self, collection: str, indexes: Mapping[str, models.PayloadSchemaType]
    ) -> None:
        def index(name: str, kind: models.PayloadSchemaType) -> Callable[[QdrantClient], object]:
            return lambda client: client.create_payload_index(
                collection, name, field_schema=kind, wait=True
            )

        try:
            for name, kind in indexes.items():
                self._qdrant.change(index(name, kind))
        except BaseException:
            self._indexes.forget(collection)
            raise

    def _stored(self, collection: str, passage_ids: Sequence[str], name: str) -> dict[str, Any]:
        records = self._held(
            collection,
            lambda client: client.retrieve(
                collection, ids=list(passage_ids), with_payload=False, with_vectors=[name]
            ),
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
        self._qdrant = AsyncConnections(settings)
        #: By peer and collection: the corpus version that was proved last.
        self._proofs: dict[tuple[int, str], int] = {}

    def watch_peers(self, on_peer: OnPeer) -> None:
        self._qdrant.watched.watch(on_peer)

    async def search(
        self,
        collection: str,
        query: Query,
        limit: int,
        timeout: float,
        version: int | None = None,
    ) -> Found:
        asked = request(collection, query, limit)
        if asked is None:
            return Found([])

        async def answers(client: AsyncQdrantClient, seconds: int, *each: Any) -> list[Any]:
            answer = await client.grpc_points.QueryBatch(
                batch(*each, seconds=seconds), timeout=seconds
            )
            return [found.result for found in answer.result]

        async def ask(client: AsyncQdrantClient, place: int, seconds: int) -> Found:
            if version is None:
                (points,) = await answers(client, seconds, asked)
                return Found(to_hits(points, query))
            mark = mark_request(collection)
            before = self._proofs.get((place, collection), 0)
            if before < version:
                (marks,) = await answers(client, seconds, mark)
                before = proved_version(marks)
            # Once more with the search: a peer that has no copy of its own may ask another one.
            marks, points = await answers(client, seconds, mark, asked)
            proved = proved_version(marks)
            self._note(place, collection, proved)
            found = Found(to_hits(points, query), min(version, before, proved))
            if min(before, proved) < version:
                raise Behind(found, min(before, proved))
            return found

        return await self._qdrant.search(ask, timeout)

    def _note(self, place: int, collection: str, proved: int) -> None:
        while len(self._proofs) >= PROOFS_KEPT:
            del self._proofs[next(iter(self._proofs))]
        self._proofs[place, collection] = proved

    async def close(self) -> None:
        await self._qdrant.close()

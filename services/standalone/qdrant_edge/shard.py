"""One collection's engine: protobuf bytes in, protobuf bytes out.

Reads may run at once on several threads; writes are called one after the other, by one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import disk_usage
from time import monotonic

import qdrant_edge as edge

from realm.errors import InvalidInput, OutOfSpace, RealmError, Unsupported
from realm.process.threads import lower_priority
from services.standalone.qdrant_edge.protocol import collections, points
from services.standalone.qdrant_edge.translation import (
    allow_only,
    dense_vectors,
    read_config,
    read_filter,
    read_id,
    read_ids,
    read_limit,
    read_payload_choice,
    read_query,
    read_value,
    read_vector_choice,
    read_vectors,
    write_id,
    write_record,
)

#: Seconds between flushes while writes come in; a shorter write-ahead log loads quicker.
FLUSH_INTERVAL = 5.0
#: With less free on its disk a collection takes no writes: an engine that finds no room at all
#: dies of it, and then nobody can search either.
ROOM_BYTES = 64 << 20
INDEX_TYPES = {
    points.FieldTypeKeyword: edge.PayloadSchemaType.Keyword,
    points.FieldTypeInteger: edge.PayloadSchemaType.Integer,
    points.FieldTypeFloat: edge.PayloadSchemaType.Float,
}
SCHEMA_TYPES = {
    edge.PayloadSchemaType.Keyword: collections.Keyword,
    edge.PayloadSchemaType.Integer: collections.Integer,
    edge.PayloadSchemaType.Float: collections.Float,
}
#: Edge raises plain exceptions; these beginnings are the caller's fault.
CALLERS_FAULTS = (
    "Vector dimension error",
    "Not existing vector name error",
    "Wrong input",
    "Bad request",
)


class Shard:
    """A collection's folder, open."""

    def __init__(self, folder: Path, config: collections.CreateCollection) -> None:
        """Loads the folder, or creates it where the engine has not been yet."""
        settings = read_config(config)
        self._sizes = {name: params.size for name, params in dense_vectors(config).items()}
        self._sparse = set(config.sparse_vectors_config.map)
        self._flushed_at = monotonic()
        self._folder = folder
        if (folder / "edge_config.json").exists():
            self._engine = edge.EdgeShard.load(str(folder), settings)
        else:
            self._check_room()
            self._engine = edge.EdgeShard.create(str(folder), settings)
        self.reads: dict[str, Callable[[bytes], bytes]] = {
            "QueryBatch": self.query_batch,
            "Get": self.retrieve,
            "Scroll": self.scroll,
            "Count": self.count,
            "Info": self.info,
        }
        self.writes: dict[str, Callable[[bytes], bytes]] = {
            "Upsert": self._with_room(self.upsert),
            "Delete": self._with_room(self.delete),
            "CreateFieldIndex": self._with_room(self.create_field_index),
            "Optimize": self._with_room(self.optimize),
        }

    def close(self) -> None:
        self._engine.flush()
        self._engine.close()

    def _with_room(self, write: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def checked(body: bytes) -> bytes:
            self._check_room()
            return write(body)

        return checked

    def _check_room(self) -> None:
        """:raises OutOfSpace: in Qdrant's words."""
        free = disk_usage(self._folder).free
        if free < ROOM_BYTES:
            raise OutOfSpace(
                f"No space left on device: {free >> 20} MiB are free, {ROOM_BYTES >> 20} are needed"
            )

    def query_batch(self, body: bytes) -> bytes:
        request = points.QueryBatchPoints.FromString(body)
        queries = edge.QueryBatchRequest([read_query(query) for query in request.query_points])
        response = points.QueryBatchResponse()
        for found in self._engine.query_batch(queries):
            result = response.result.add().result
            for scored in found:
                point = result.add()
                write_record(point, scored)
                point.score = scored.score
                point.version = scored.version
        return response.SerializeToString()

    def retrieve(self, body: bytes) -> bytes:
        request = points.GetPoints.FromString(body)
        found = self._engine.retrieve(
            read_ids(request.ids),
            read_payload_choice(request.with_payload),
            read_vector_choice(request.with_vectors),
        )
        response = points.GetResponse()
        for record in found:
            write_record(response.result.add(), record)
        return response.SerializeToString()

    def scroll(self, body: bytes) -> bytes:
        request = points.ScrollPoints.FromString(body)
        allow_only(
            request, "collection_name", "offset", "limit", "with_payload", "with_vectors", "timeout"
        )
        found, following = self._engine.scroll(
            edge.ScrollRequest(
                offset=read_id(request.offset) if request.HasField("offset") else None,
                limit=read_limit(request),
                with_payload=read_payload_choice(request.with_payload),
                with_vector=read_vector_choice(request.with_vectors),
            )
        )
        response = points.ScrollResponse()
        for record in found:
            write_record(response.result.add(), record)
        if following is not None:
            write_id(response.next_page_offset, following)
        return response.SerializeToString()

    def count(self, body: bytes) -> bytes:
        request = points.CountPoints.FromString(body)
        # Always exact: it costs milliseconds.
        counted = self._engine.count(
            edge.CountRequest(
                exact=True,
                filter=read_filter(request.filter) if request.HasField("filter") else None,
            )
        )
        return points.CountResponse(result=points.CountResult(count=counted)).SerializeToString()

    def info(self, body: bytes = b"") -> bytes:
        """The part of `CollectionInfo` that only the engine knows."""
        shard = self._engine.info()
        return collections.CollectionInfo(
            segments_count=shard.segments_count,
            points_count=shard.points_count,
            indexed_vectors_count=shard.indexed_vectors_count,
            payload_schema={
                name: collections.PayloadSchemaInfo(
                    data_type=SCHEMA_TYPES[index.data_type], points=index.points
                )
                for name, index in shard.payload_schema.items()
            },
        ).SerializeToString()

    def upsert(self, body: bytes) -> bytes:
        request = points.UpsertPoints.FromString(body)
        allow_only(request, "collection_name", "wait", "points", "update_filter", "timeout")
        batch = [self._read_point(point) for point in request.points]
        guarded = request.HasField("update_filter")
        return self._update(
            edge.UpdateOperation.upsert_points(
                batch, condition=read_filter(request.update_filter) if guarded else None
            )
        )

    def _read_point(self, point: points.PointStruct) -> edge.Point:
        vectors = read_vectors(point.vectors)
        for name, vector in vectors.items():
            self._check_vector(name, vector)
        payload = {key: read_value(value) for key, value in point.payload.items()}
        return edge.Point(read_id(point.id), vectors, payload)

    def _check_vector(self, name: str, vector: edge.NamedVector) -> None:
        # Edge meets a bad vector half way and keeps the points that it took before.
        if isinstance(vector, edge.SparseVector):
            if name not in self._sparse:
                raise InvalidInput(f"Not existing vector name error: no sparse vector {name!r}")
        elif name not in self._sizes:
            raise InvalidInput(f"Not existing vector name error: no dense vector {name!r}")
        elif len(vector) != self._sizes[name]:
            raise InvalidInput(
                f"Vector dimension error: {name!r} has {self._sizes[name]} dimensions,"
                f" a point was given {len(vector)}"
            )

    def delete(self, body: bytes) -> bytes:
        selector = points.DeletePoints.FromString(body).points
        match selector.WhichOneof("points_selector_one_of"):
            case "points":
                ids = read_ids(selector.points.ids)
                return self._update(edge.UpdateOperation.delete_points(ids))
            case "filter":
                chosen = read_filter(selector.filter)
                return self._update(edge.UpdateOperation.delete_points_by_filter(chosen))
            case _:
                raise InvalidInput("Nothing says which points to delete; give ids or a filter")

    def create_field_index(self, body: bytes) -> bytes:
        request = points.CreateFieldIndexCollection.FromString(body)
        if request.field_type not in INDEX_TYPES:
            raise Unsupported(f"An index of this type on {request.field_name!r} is not covered")
        kind = INDEX_TYPES[request.field_type]
        return self._update(edge.UpdateOperation.create_field_index(request.field_name, kind))

    def optimize(self, body: bytes = b"") -> bytes:
        """Builds the vector indexes that the engine's thresholds call for.

        The engine holds the interpreter lock meanwhile: this process answers nothing else. Its
        threads leave the processor to the collections that are searched.
        """
        with ThreadPoolExecutor(1, initializer=lower_priority) as background:
            background.submit(self._engine.optimize).result()
        self._engine.flush()
        return self.info()

    def _update(self, operation: edge.UpdateOperation) -> bytes:
        self._engine.update(operation)
        if monotonic() - self._flushed_at > FLUSH_INTERVAL:
            self._engine.flush()
            self._flushed_at = monotonic()
        return points.PointsOperationResponse(
            result=points.UpdateResult(status=points.Completed)
        ).SerializeToString()


def as_fault(error: Exception) -> RealmError:
    """An exception of Edge, or of reading a request for it, as one of the project's errors."""
    if isinstance(error, RealmError):
        return error
    message = str(error)
    # a ValueError, TypeError or OverflowError is Edge's refusal of an argument
    if type(error) is not Exception or message.startswith(CALLERS_FAULTS):
        return InvalidInput(message)
    return RealmError(f"Qdrant Edge failed: {message}")

"""Point ids, payloads and vectors: protobuf on one side, Qdrant Edge on the other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import qdrant_edge as edge

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.protocol import common, json_values, points

#: The name that Qdrant and Edge give to the one vector of a collection that names none.
DEFAULT_VECTOR = ""


def read_id(point_id: common.PointId) -> edge.PointId:
    """:raises InvalidInput: if it is neither a number nor a UUID."""
    match point_id.WhichOneof("point_id_options"):
        case "num":
            return point_id.num
        case "uuid":
            try:
                return str(UUID(point_id.uuid))
            except ValueError:
                raise InvalidInput(
                    f"Point id {point_id.uuid!r} is neither a number nor a UUID"
                ) from None
        case _:
            raise InvalidInput("A point id is empty; give a number or a UUID")


def write_id(target: common.PointId, point_id: edge.PointId) -> None:
    if isinstance(point_id, int):
        target.num = point_id
    else:
        target.uuid = str(point_id)


def read_value(value: json_values.Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "integer_value":
            return value.integer_value
        case "double_value":
            return value.double_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [read_value(item) for item in value.list_value.values]
        case "struct_value":
            return {key: read_value(item) for key, item in value.struct_value.fields.items()}
        case _:
            return None


def write_value(target: json_values.Value, value: Any) -> None:
    # bool before int: Python counts True as an integer
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.integer_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            write_value(target.list_value.values.add(), item)
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        for key, item in value.items():
            write_value(target.struct_value.fields[key], item)
    else:
        target.null_value = json_values.NULL_VALUE


def read_sparse(indices: list[int], values: list[float]) -> edge.SparseVector:
    """:raises InvalidInput: if the lengths differ or an index occurs twice."""
    if len(indices) != len(values):
        raise InvalidInput(
            f"A sparse vector has {len(indices)} indices and {len(values)} values; give as many"
        )
    if len(set(indices)) != len(indices):
        raise InvalidInput("A sparse vector names an index twice; indices must be unique")
    return edge.SparseVector(indices, values)


def read_vector(vector: points.Vector) -> edge.NamedVector:
    """:raises Unsupported: if it is a multi-vector or something to embed."""
    match vector.WhichOneof("vector"):
        case "dense":
            return list(vector.dense.data)
        case "sparse":
            return read_sparse(list(vector.sparse.indices), list(vector.sparse.values))
        case None:  # clients before 1.16 fill the flat fields
            if vector.HasField("indices"):
                return read_sparse(list(vector.indices.data), list(vector.data))
            return list(vector.data)
        case other:
            raise Unsupported(f"Vectors of kind {other!r} are not covered; give dense or sparse")


def read_vectors(vectors: points.Vectors) -> dict[str, edge.NamedVector]:
    if vectors.WhichOneof("vectors_options") == "vector":
        return {DEFAULT_VECTOR: read_vector(vectors.vector)}
    return {name: read_vector(vector) for name, vector in vectors.vectors.vectors.items()}


def write_vectors(target: points.VectorsOutput, vectors: Any) -> None:
    """`vectors` as Edge gives them: a list for the default vector, else a mapping by name."""
    if not isinstance(vectors, dict):
        target.vector.dense.data.extend(vectors)
        return
    target.vectors.SetInParent()
    for name, vector in vectors.items():
        output = target.vectors.vectors[name]
        if isinstance(vector, edge.SparseVector):
            output.sparse.indices.extend(vector.indices)
            output.sparse.values.extend(vector.values)
        else:
            output.dense.data.extend(vector)


def write_record(
    target: points.ScoredPoint | points.RetrievedPoint, record: edge.ScoredPoint | edge.Record
) -> None:
    """The fields that a found and a retrieved point share."""
    write_id(target.id, record.id)
    for key, value in (record.payload or {}).items():
        write_value(target.payload[key], value)
    if record.vector is not None:
        write_vectors(target.vectors, record.vector)
    if isinstance(record.order_value, int):
        target.order_value.int = record.order_value
    elif record.order_value is not None:
        target.order_value.float = record.order_value

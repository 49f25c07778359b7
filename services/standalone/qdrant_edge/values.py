"""Point ids, payloads and vectors: protobuf on one side, Qdrant Edge on the other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import qdrant_edge as edge

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.protocol import common, json_values, points


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
    match kind := value.WhichOneof("kind"):
        case "string_value" | "integer_value" | "double_value" | "bool_value":
            return getattr(value, kind)
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


def read_sparse(vector: points.SparseVector) -> edge.SparseVector:
    """:raises InvalidInput: if the lengths differ or an index occurs twice."""
    indices, values = list(vector.indices), list(vector.values)
    if len(indices) != len(values):
        raise InvalidInput(
            f"A sparse vector has {len(indices)} indices and {len(values)} values; give as many"
        )
    if len(set(indices)) != len(indices):
        raise InvalidInput("A sparse vector names an index twice; indices must be unique")
    return edge.SparseVector(indices, values)


def read_vectors(vectors: points.Vectors) -> dict[str, edge.NamedVector]:
    """By name.

    :raises Unsupported: for a vector without a name, or neither dense nor sparse.
    """
    if vectors.WhichOneof("vectors_options") == "vector":
        raise Unsupported("A vector without a name is not covered here")
    return {name: _read_vector(vector) for name, vector in vectors.vectors.vectors.items()}


def _read_vector(vector: points.Vector) -> edge.NamedVector:
    match vector.WhichOneof("vector"):
        case "dense":
            return list(vector.dense.data)
        case "sparse":
            return read_sparse(vector.sparse)
        case other:
            raise Unsupported(f"Vectors of kind {other!r} are not covered here")


def write_record(
    target: points.ScoredPoint | points.RetrievedPoint, record: edge.ScoredPoint | edge.Record
) -> None:
    """The fields that a found and a retrieved point share."""
    write_id(target.id, record.id)
    for key, value in (record.payload or {}).items():
        write_value(target.payload[key], value)
    vectors: Any = record.vector
    if vectors is None:
        return
    # Of a point that lacks the vectors asked for, clients expect an empty mapping.
    target.vectors.vectors.SetInParent()
    for name, vector in vectors.items():
        output = target.vectors.vectors.vectors[name]
        if isinstance(vector, edge.SparseVector):
            output.sparse.indices.extend(vector.indices)
            output.sparse.values.extend(vector.values)
        else:
            output.dense.data.extend(vector)

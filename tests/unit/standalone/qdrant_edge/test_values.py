from __future__ import annotations

import math
from typing import Any

import pytest
import qdrant_edge as edge
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import InvalidInput, Unsupported
from services.standalone.qdrant_edge.protocol import common, json_values, points
from services.standalone.qdrant_edge.values import (
    read_id,
    read_value,
    read_vector,
    read_vectors,
    write_id,
    write_value,
    write_vectors,
)

payloads = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(payloads)
def test_a_payload_survives_the_wire_with_its_types(payload: Any) -> None:
    value = json_values.Value()
    write_value(value, payload)
    returned = read_value(json_values.Value.FromString(value.SerializeToString()))
    assert returned == payload
    assert type(returned) is type(payload)


@given(st.integers(0, 2**64 - 1) | st.uuids().map(str))
def test_an_id_survives_the_wire(point_id: int | str) -> None:
    target = common.PointId()
    write_id(target, point_id)
    assert read_id(target) == point_id


@pytest.mark.parametrize("point_id", [common.PointId(), common.PointId(uuid="not-a-uuid")])
def test_an_id_that_is_none_is_refused(point_id: common.PointId) -> None:
    with pytest.raises(InvalidInput):
        read_id(point_id)


def test_vectors_of_old_clients_are_read_too() -> None:
    dense = points.Vector(data=[1.0, 2.0])
    sparse = points.Vector(data=[1.0, 2.0], indices=points.SparseIndices(data=[7, 3]))
    assert read_vector(dense) == [1.0, 2.0]
    read = read_vector(sparse)
    assert isinstance(read, edge.SparseVector)
    assert (read.indices, read.values) == ([7, 3], [1.0, 2.0])


@pytest.mark.parametrize(
    ("indices", "values"), [([1, 1], [1.0, 2.0]), ([1], [1.0, 2.0]), ([1, 2], [1.0])]
)
def test_a_malformed_sparse_vector_is_refused(indices: list[int], values: list[float]) -> None:
    vector = points.Vector(sparse=points.SparseVector(indices=indices, values=values))
    with pytest.raises(InvalidInput):
        read_vector(vector)


def test_what_would_have_to_be_embedded_is_refused() -> None:
    with pytest.raises(Unsupported, match="document"):
        read_vector(points.Vector(document=points.Document(text="a", model="b")))


def test_named_and_unnamed_vectors_are_written_as_they_are_read() -> None:
    named = points.VectorsOutput()
    write_vectors(named, {"dense": [0.5, math.inf], "bm25": edge.SparseVector([4], [2.0])})
    assert list(named.vectors.vectors["dense"].dense.data) == [0.5, math.inf]
    assert list(named.vectors.vectors["bm25"].sparse.indices) == [4]
    unnamed = points.VectorsOutput()
    write_vectors(unnamed, [1.0])
    assert list(unnamed.vector.dense.data) == [1.0]
    given_unnamed = points.Vectors(vector=points.Vector(dense=points.DenseVector(data=[1.0])))
    assert read_vectors(given_unnamed) == {"": [1.0]}

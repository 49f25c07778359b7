from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import InvalidInput
from services.standalone.qdrant_edge.protocol import common, json_values, points
from services.standalone.qdrant_edge.translation import (
    read_id,
    read_sparse,
    read_value,
    write_id,
    write_value,
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


@pytest.mark.parametrize(
    ("indices", "values"), [([1, 1], [1.0, 2.0]), ([1], [1.0, 2.0]), ([1, 2], [1.0])]
)
def test_a_malformed_sparse_vector_is_refused(indices: list[int], values: list[float]) -> None:
    with pytest.raises(InvalidInput):
        read_sparse(points.SparseVector(indices=indices, values=values))

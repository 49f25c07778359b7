from __future__ import annotations

from pathlib import Path

import pytest

from realm.errors import OutOfSpace
from services.standalone.qdrant_edge import shard
from services.standalone.qdrant_edge.protocol import collections, points
from services.standalone.qdrant_edge.shard import Shard

#: More than any disk has.
NEVER = 1 << 62


def config() -> collections.CreateCollection:
    created = collections.CreateCollection(collection_name="passages-1")
    vector = created.vectors_config.params_map.map["dense"]
    vector.size, vector.distance = 4, collections.Dot
    return created


def upsert(number: int) -> bytes:
    vector = points.Vector(dense=points.DenseVector(data=[1.0] * 4))
    named = points.NamedVectors(vectors={"dense": vector})
    point = points.PointStruct(vectors=points.Vectors(vectors=named))
    point.id.num = number
    return points.UpsertPoints(points=[point]).SerializeToString()


def count(opened: Shard) -> int:
    return points.CountResponse.FromString(opened.reads["Count"](b"")).result.count


def test_without_room_it_takes_no_writes_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Shard(tmp_path, config())
    opened.writes["Upsert"](upsert(1))
    with monkeypatch.context() as full:
        full.setattr(shard, "ROOM_BYTES", NEVER)
        with pytest.raises(OutOfSpace, match="No space left on device"):
            opened.writes["Upsert"](upsert(2))
        assert count(opened) == 1
        opened.close()
        opened = Shard(tmp_path, config())
        assert count(opened) == 1, "a restart needs no room"
        (tmp_path / "another").mkdir()
        with pytest.raises(OutOfSpace, match="No space left on device"):
            Shard(tmp_path / "another", config())
    opened.writes["Upsert"](upsert(2))
    assert count(opened) == 2
    opened.close()

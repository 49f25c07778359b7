"""Copies that a collection lacks are seen, told and made again, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.grpc import collections_pb2
from qdrant_client.models import ReplicaState

from realm.search.qdrant.copies import Copies
from realm.search.qdrant.index import QdrantIndex
from realm.search.vector_index import ChangeHooks
from realm.settings import load_settings
from tests.qdrant_cluster import FakeCluster

ACTIVE, PARTIAL, DEAD = collections_pb2.Active, collections_pb2.Partial, collections_pb2.Dead
STATES = (ReplicaState.ACTIVE, ReplicaState.PARTIAL, ReplicaState.DEAD)


@contextmanager
def opened(ports: list[int]) -> Iterator[QdrantIndex]:
    url = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    with closing(QdrantIndex(load_settings(qdrant_url=url), ChangeHooks())) as index:
        yield index


def test_a_peer_that_joins_with_an_empty_volume_gets_a_copy() -> None:
    """It has a new id; the copy on the id that it had before is on no peer that answers."""
    cluster = FakeCluster(wanted=3, copies={1: ACTIVE, 2: ACTIVE, 3: DEAD})
    with cluster.serving(1, 2, 4) as ports, opened(ports) as index:
        assert index.restore_copies("any") == 1
        assert cluster.asked == [(1, 4)]
        assert index.restore_copies("any") == 1, "it is on its way"
        assert cluster.asked == [(1, 4)]
        cluster.copies[4], cluster.moving = ACTIVE, False
        assert index.restore_copies("any") == 0
    assert cluster.asked == [(1, 4)]


def test_a_peer_that_is_away_is_told_of_and_none_takes_its_place() -> None:
    """There is no fourth; when it is back it is mended by Qdrant."""
    cluster = FakeCluster(wanted=3, copies={1: ACTIVE, 2: ACTIVE, 3: ACTIVE})
    with cluster.serving(1, 2) as ports, opened([*ports, 1]) as index:
        assert index.restore_copies("any") == 1
    assert not cluster.asked


def test_one_peer_is_no_cluster_and_is_asked_nothing() -> None:
    with opened([1]) as index:
        assert index.restore_copies("any") == 0


@given(
    st.integers(1, 4),
    st.frozensets(st.integers(1, 5)),
    st.dictionaries(st.integers(1, 5), st.sampled_from(STATES)),
    st.booleans(),
)
def test_a_copy_is_made_of_a_whole_one_where_there_is_none_and_never_one_too_many(
    wanted: int, answering: frozenset[int], states: dict[int, ReplicaState], moving: bool
) -> None:
    copies = Copies(wanted, answering, {0: states}, frozenset([0] if moving else []))
    made = copies.next_copy()
    if made is None:
        return
    assert not moving
    assert copies.missing > 0
    assert states[made.from_peer_id] is ReplicaState.ACTIVE
    assert made.from_peer_id in answering
    assert made.to_peer_id in answering
    assert made.to_peer_id not in states

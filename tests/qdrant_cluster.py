"""What Qdrant says of a cluster: the few calls by which its peers, and copies of collections on
them, are seen and changed. No points: a Qdrant Edge server has those."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from qdrant_client.grpc import collections_pb2, collections_service_pb2_grpc
from qdrant_client.grpc.collections_pb2 import ReplicaState


@dataclass
class FakeCluster:
    """Of one collection of one shard: the state of the copy on each peer, by its id, and what was
    asked to be copied from where to where."""

    wanted: int
    copies: dict[int, ReplicaState.ValueType] = field(default_factory=dict)
    moving: bool = False
    asked: list[tuple[int, int]] = field(default_factory=list)

    @contextmanager
    def serving(self, *peers: int) -> Iterator[list[int]]:
        """The ports of those peers."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._peer(each)) for each in peers]

    @contextmanager
    def _peer(self, peer: int) -> Iterator[int]:
        server = grpc.server(ThreadPoolExecutor(2))
        servicer = _Peer(self, peer)
        collections_service_pb2_grpc.add_CollectionsServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait(10)


class _Peer(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, cluster: FakeCluster, peer: int) -> None:
        self._cluster = cluster
        self._peer = peer

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        info = collections_pb2.CollectionInfo(status=collections_pb2.Green)
        info.optimizer_status.ok = True
        info.config.params.shard_number = 1
        info.config.params.replication_factor = self._cluster.wanted
        info.config.hnsw_config.m = info.config.hnsw_config.ef_construct = 16
        info.config.hnsw_config.full_scan_threshold = 10_000
        info.config.optimizer_config.deleted_threshold = 0.2
        info.config.optimizer_config.vacuum_min_vector_number = 1000
        info.config.optimizer_config.default_segment_number = 0
        info.config.optimizer_config.flush_interval_sec = 5
        info.config.wal_config.wal_capacity_mb = 32
        info.config.wal_config.wal_segments_ahead = 0
        return collections_pb2.GetCollectionInfoResponse(result=info)

    def CollectionClusterInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        told = collections_pb2.CollectionClusterInfoResponse(peer_id=self._peer, shard_count=1)
        for peer, state in self._cluster.copies.items():
            if peer == self._peer:
                told.local_shards.add(shard_id=0, points_count=1, state=state)
            else:
                told.remote_shards.add(shard_id=0, peer_id=peer, state=state)
        if self._cluster.moving:
            told.shard_transfers.add(shard_id=0, to=self._peer, sync=True, **{"from": self._peer})
        return told

    def UpdateCollectionClusterSetup(self, request: Any, context: Any) -> Any:  # noqa: N802
        wanted = request.replicate_shard
        self._cluster.asked.append((wanted.from_peer_id, wanted.to_peer_id))
        self._cluster.copies[wanted.to_peer_id] = collections_pb2.Partial
        self._cluster.moving = True
        return collections_pb2.UpdateCollectionClusterSetupResponse(result=True)

"""Which copies a collection has on the peers of a cluster, and which to make: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qdrant_client import models


@dataclass(frozen=True, slots=True)
class Copies:
    """Of a collection, as one peer sees it.

    :param wanted: of each shard.
    :param answering: ids of the peers that answer.
    :param states: by shard: each of its peers' ids with the state of the copy there.
    :param moving: shards that are being copied now.
    """

    wanted: int
    answering: frozenset[int]
    states: Mapping[int, Mapping[int, models.ReplicaState]]
    moving: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        seen: models.CollectionClusterInfo,
        wanted: int,
        answering: frozenset[int],
    ) -> Copies:
        states: dict[int, dict[int, models.ReplicaState]] = {}
        for local in seen.local_shards:
            states.setdefault(local.shard_id, {})[seen.peer_id] = local.state
        for remote in seen.remote_shards:
            states.setdefault(remote.shard_id, {})[remote.peer_id] = remote.state
        moving = frozenset(each.shard_id for each in seen.shard_transfers)
        return cls(wanted, answering, states, moving)

    @property
    def missing(self) -> int:
        """How many copies the collection lacks: a copy counts that is whole, on a peer that
        answers."""
        return sum(max(0, self.wanted - len(self._whole(shard))) for shard in self.states)

    def next_copy(self) -> models.ReplicateShard | None:
        """One to make: of a shard that nobody copies now, to a peer that answers and has none of
        it. A copy that is damaged, or behind, Qdrant mends by itself."""
        for shard, copies in sorted(self.states.items()):
            whole = self._whole(shard)
            without = sorted(self.answering - copies.keys())
            if shard in self.moving or not whole or not without or len(whole) >= self.wanted:
                continue
            return models.ReplicateShard(
                shard_id=shard, from_peer_id=whole[0], to_peer_id=without[0]
            )
        return None

    def _whole(self, shard: int) -> list[int]:
        return sorted(
            peer
            for peer, state in self.states[shard].items()
            if state is models.ReplicaState.ACTIVE and peer in self.answering
        )

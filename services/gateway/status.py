"""What a gateway knows of the index by itself, for when no indexer answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from realm.errors import DependencyUnavailable
from realm.records.controls import Controls
from realm.records.damage import damage_of
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.v1 import index_pb2
from services.gateway.servicers import index_version, timestamp
from services.gateway.serving import Held, ServingSlot


class LocalStatus:
    """Reads the store: live version, newest snapshot, pause. Says nothing of other gateways."""

    def __init__(self, store: Store, slot: ServingSlot, gateway_id: str) -> None:
        self._store = store
        self._snapshots = Snapshots(store)
        self._slot = slot
        self._gateway_id = gateway_id

    async def status(self) -> index_pb2.IndexStatus:
        """Without a store: what the gateway holds, and how old that is.

        :raises DependencyUnavailable: if it holds nothing either.
        """
        serving = self._slot.current
        try:
            status = await asyncio.to_thread(self._from_store)
        except DependencyUnavailable:
            if serving is None:
                raise
            status = index_pb2.IndexStatus()
        standing = self._slot.standing(serving.number) if serving else None
        if serving is not None and standing is not None:
            status.live.CopyFrom(index_version(Held(serving, standing)))
            status.corpus_version = standing.corpus_version
            if standing.damaged:
                with suppress(DependencyUnavailable):
                    status.damage = await asyncio.to_thread(damage_of, self._store, serving.number)
        status.gateways.add(
            gateway_id=self._gateway_id,
            generation=serving.number if serving else 0,
            ready=serving is not None,
        )
        return status

    def _from_store(self) -> index_pb2.IndexStatus:
        status = index_pb2.IndexStatus(paused=Controls(self._store).paused())
        if (newest := self._snapshots.newest()) is not None:
            status.newest_snapshot.number = newest.number
            status.newest_snapshot.step = newest.step
            status.newest_snapshot.published_at.CopyFrom(timestamp(newest.created_at))
        return status

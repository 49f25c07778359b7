"""The channel to the leading indexer: where the store's newest term says, else as configured.

The store is asked, not the indexers: one that sleeps through its own end would not know.
"""

from __future__ import annotations

import asyncio

import grpc
import structlog

from realm.internal.v1 import serving_pb2_grpc
from realm.process.rpc import channel_options
from realm.tracing.client import aio_interceptors
from realm.v1 import corpus_pb2_grpc, index_pb2_grpc

#: What is under way at the old leader may still end well.
GRACE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Leader:
    """Stubs of the leader's services, replaced when another one leads. Lives on the event loop."""

    def __init__(self, default: str) -> None:
        """:param default: gRPC target while no leader tells where it is."""
        self._default = default
        self._closing: set[asyncio.Task[None]] = set()
        self._connect(default)

    def follow(self, address: str) -> None:
        """The newest term's address; empty if there is none."""
        if (address or self._default) == self.address:
            return
        log.info("leader_changed", before=self.address, now=address or self._default)
        channel, changed = self._channel, self.changed
        self._connect(address or self._default)
        changed.set()
        closing = asyncio.create_task(channel.close(GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        await self._channel.close(None)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _connect(self, address: str) -> None:
        self.address = address
        #: Set when these stubs are no longer the leader's.
        self.changed = asyncio.Event()
        self._channel = grpc.aio.insecure_channel(
            address, options=channel_options(address), interceptors=aio_interceptors()
        )
        self.corpus = corpus_pb2_grpc.CorpusServiceStub(self._channel)
        self.index = index_pb2_grpc.IndexServiceStub(self._channel)
        self.serving = serving_pb2_grpc.ServingReportServiceStub(self._channel)

"""Qdrant's `Collections` service over the registry: translates, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from realm.errors import NotFound
from services.standalone.qdrant_edge.description import describe
from services.standalone.qdrant_edge.protocol import collections, load
from services.standalone.qdrant_edge.registry import Registry

if TYPE_CHECKING:
    from qdrant_client.grpc.collections_service_pb2_grpc import CollectionsServicer
else:
    CollectionsServicer = load("collections_service_pb2_grpc").CollectionsServicer


class CollectionsService(CollectionsServicer):
    """What is not defined here is refused before it gets here."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def Get(  # noqa: N802
        self, request: collections.GetCollectionInfoRequest, context: Any
    ) -> collections.GetCollectionInfoResponse:
        started = perf_counter()
        name = self._registry.catalogue.resolve(request.collection_name)
        keeper = self._registry.keeper(name)
        info = collections.CollectionInfo()
        info.CopyFrom(keeper.info)
        info.status = collections.Yellow
        if not keeper.optimizing:
            info.ParseFromString(await keeper.call("Info", b""))
            info.status = collections.Green
        info.optimizer_status.ok = True
        info.config.CopyFrom(describe(self._registry.catalogue.configs[name]))
        return collections.GetCollectionInfoResponse(result=info, time=perf_counter() - started)

    async def List(  # noqa: N802
        self, request: collections.ListCollectionsRequest, context: Any
    ) -> collections.ListCollectionsResponse:
        names = sorted(self._registry.catalogue.configs)
        return collections.ListCollectionsResponse(
            collections=[collections.CollectionDescription(name=name) for name in names]
        )

    async def CollectionExists(  # noqa: N802
        self, request: collections.CollectionExistsRequest, context: Any
    ) -> collections.CollectionExistsResponse:
        try:
            self._registry.catalogue.resolve(request.collection_name)
            exists = True
        except NotFound:
            exists = False
        return collections.CollectionExistsResponse(
            result=collections.CollectionExists(exists=exists)
        )

    async def Create(  # noqa: N802
        self, request: collections.CreateCollection, context: Any
    ) -> collections.CollectionOperationResponse:
        started = perf_counter()
        await self._registry.create(request)
        return done(started)

    async def Update(  # noqa: N802
        self, request: collections.UpdateCollection, context: Any
    ) -> collections.CollectionOperationResponse:
        started = perf_counter()
        await self._registry.update(request)
        return done(started)

    async def Delete(  # noqa: N802
        self, request: collections.DeleteCollection, context: Any
    ) -> collections.CollectionOperationResponse:
        started = perf_counter()
        existed = await self._registry.delete(request.collection_name)
        return done(started, result=existed)

    async def UpdateAliases(  # noqa: N802
        self, request: collections.ChangeAliases, context: Any
    ) -> collections.CollectionOperationResponse:
        started = perf_counter()
        await self._registry.change_aliases(request.actions)
        return done(started)

    async def ListAliases(  # noqa: N802
        self, request: collections.ListAliasesRequest, context: Any
    ) -> collections.ListAliasesResponse:
        return described(self._registry.catalogue.aliases.items())

    async def ListCollectionAliases(  # noqa: N802
        self, request: collections.ListCollectionAliasesRequest, context: Any
    ) -> collections.ListAliasesResponse:
        aliases = self._registry.catalogue.aliases.items()
        return described(pair for pair in aliases if pair[1] == request.collection_name)


def done(started: float, *, result: bool = True) -> collections.CollectionOperationResponse:
    return collections.CollectionOperationResponse(result=result, time=perf_counter() - started)


def described(aliases: Iterable[tuple[str, str]]) -> collections.ListAliasesResponse:
    return collections.ListAliasesResponse(
        aliases=[
            collections.AliasDescription(alias_name=alias, collection_name=name)
            for alias, name in sorted(aliases)
        ]
    )

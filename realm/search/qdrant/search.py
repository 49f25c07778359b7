"""Search for the gateway, on its event loop."""

from __future__ import annotations

from qdrant_client import AsyncQdrantClient

from realm.search.qdrant.connection import endpoint, reachable
from realm.search.qdrant.points import request, to_hits
from realm.search.vector_index import Hit, Query
from realm.settings import Settings


class QdrantSearch:
    """`VectorSearch` over Qdrant."""

    def __init__(self, settings: Settings) -> None:
        self._client = AsyncQdrantClient(**endpoint(settings))

    async def search(self, collection: str, query: Query, limit: int, timeout: float) -> list[Hit]:
        asked = request(query, limit)
        if asked is None:
            return []
        with reachable():
            (answer,) = await self._client.query_batch_points(
                collection, [asked], timeout=max(1, round(timeout))
            )
        return to_hits(answer.points, query)

    async def close(self) -> None:
        await self._client.close()

"""What a user would write instead of a gateway: sentence-transformers and qdrant-client in a
grpc.aio handler, a question at a time. `python -m bench.serve.plain COLLECTION ADDRESS`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from qdrant_client import AsyncQdrantClient, models
from sentence_transformers import SentenceTransformer

from realm.model.base import default_folder
from realm.model.runtime import set_threads
from realm.search.qdrant.connections import endpoint
from realm.search.qdrant.points import DENSE
from realm.settings import Settings, load_settings
from realm.v1 import retrieval_pb2, retrieval_pb2_grpc, types_pb2


class Plain(retrieval_pb2_grpc.RetrievalServiceServicer):
    def __init__(self, collection: str, settings: Settings) -> None:
        self._collection = collection
        self._model = SentenceTransformer(str(default_folder()), device="cpu")
        self._qdrant = AsyncQdrantClient(**endpoint(settings))

    async def RetrievePassages(  # noqa: N802
        self, request: retrieval_pb2.RetrievePassagesRequest, context: Any
    ) -> retrieval_pb2.RetrievePassagesResponse:
        vector = await asyncio.to_thread(
            self._model.encode, request.question, show_progress_bar=False
        )
        asked = models.QueryRequest(
            query=vector.tolist(), using=DENSE, limit=request.limit, with_payload=True
        )
        (answer,) = await self._qdrant.query_batch_points(self._collection, [asked])
        return retrieval_pb2.RetrievePassagesResponse(
            passages=[_passage(point) for point in answer.points]
        )


def _passage(point: models.ScoredPoint) -> retrieval_pb2.RetrievedPassage:
    payload = point.payload or {}
    passage = types_pb2.Passage(
        passage_id=str(point.id), title=payload["title"], text=payload["text"]
    )
    return retrieval_pb2.RetrievedPassage(passage=passage, score=point.score)


async def main(collection: str, address: str) -> None:
    settings = load_settings()
    set_threads(settings.process.threads)
    server = grpc.aio.server()
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(Plain(collection, settings), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""Everything that a collection holds, read out of Qdrant itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from qdrant_client import QdrantClient, models

from realm.records.vectors import Vectors
from realm.search.qdrant.points import BM25, DENSE

PAGE = 500

#: Id, payload, vector, terms.
Row = tuple[str, str, list[float], list[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A collection: ids and payloads (canonical JSON) row by row, vectors [points, size].

    `terms` are the BM25 indices of each row, sorted. Their weights are of the generation: they
    depend on how long its passages were on average when it began.
    """

    ids: list[str]
    payloads: list[str]
    vectors: Vectors
    terms: list[list[int]]

    def versions(self) -> dict[str, set[int]]:
        """Versions by document id."""
        found: dict[str, set[int]] = {}
        for text in self.payloads:
            payload = json.loads(text)
            found.setdefault(payload["document_id"], set()).add(int(payload["document_version"]))
        return found


def read_points(qdrant_url: str, collection: str) -> Points:
    """Sorted by id."""
    rows = sorted(_scroll(qdrant_url, collection), key=lambda row: row[0])
    return Points(
        ids=[row[0] for row in rows],
        payloads=[row[1] for row in rows],
        vectors=np.array([row[2] for row in rows], dtype=np.float32),
        terms=[row[3] for row in rows],
    )


def delete_points(qdrant_url: str, collection: str, ids: list[str]) -> None:
    """Behind the back of whoever filled the collection."""
    client = _client(qdrant_url)
    try:
        client.delete(collection, models.PointIdsList(points=[*ids]), wait=True)
    finally:
        client.close()


def _client(qdrant_url: str) -> QdrantClient:
    parts = urlsplit(qdrant_url)
    return QdrantClient(
        host=parts.hostname, grpc_port=parts.port or 6334, prefer_grpc=True,
        https=False, check_compatibility=False,
    )  # fmt: skip


def _scroll(qdrant_url: str, collection: str) -> Iterator[Row]:
    client = _client(qdrant_url)
    try:
        offset = None
        while True:
            records, offset = client.scroll(
                collection, limit=PAGE, offset=offset, with_payload=True, with_vectors=True
            )
            for record in records:
                assert isinstance(record.vector, dict)
                payload = json.dumps(record.payload, sort_keys=True)
                dense, words = record.vector[DENSE], record.vector[BM25]
                assert isinstance(words, models.SparseVector)
                yield str(record.id), payload, dense, sorted(words.indices)  # type: ignore[misc]
            if offset is None:
                return
    finally:
        client.close()

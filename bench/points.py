"""Everything that a collection holds, read from Qdrant itself, and how two collections differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from realm.records.vectors import Vectors
from realm.search.qdrant.connections import endpoint
from realm.search.qdrant.points import BM25, DENSE, MARK
from realm.settings import load_settings

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


@dataclass(frozen=True, slots=True)
class Difference:
    """`missing` and `extra` count ids, `payloads` and `terms` those that differ.

    `vectors` is max |Δ|, `cosine` the lowest between the two vectors of one passage.
    """

    missing: int
    extra: int
    payloads: int
    terms: int
    vectors: float
    cosine: float


def difference(found: Points, expected: Points) -> Difference:
    """How `found` differs from `expected`."""
    rows = {each: row for row, each in enumerate(expected.ids)}
    pairs = [(row, rows[each]) for row, each in enumerate(found.ids) if each in rows]
    if not pairs:
        return Difference(len(expected.ids), len(found.ids), 0, 0, float("nan"), float("nan"))
    mine = found.vectors[[pair[0] for pair in pairs]]  # [common, size]
    theirs = expected.vectors[[pair[1] for pair in pairs]]
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    return Difference(
        missing=len(expected.ids) - len(pairs),
        extra=len(found.ids) - len(pairs),
        payloads=sum(found.payloads[a] != expected.payloads[b] for a, b in pairs),
        terms=sum(found.terms[a] != expected.terms[b] for a, b in pairs),
        vectors=float(np.abs(mine - theirs).max()),
        cosine=float(((mine * theirs).sum(axis=1) / norms).min()),
    )


def read_points(qdrant_url: str, collection: str) -> Points:
    """Sorted by id."""
    with _client(qdrant_url) as client:
        rows = sorted(_scroll(client, collection), key=lambda row: row[0])
    return Points(
        ids=[row[0] for row in rows],
        payloads=[row[1] for row in rows],
        vectors=np.array([row[2] for row in rows], dtype=np.float32),
        terms=[row[3] for row in rows],
    )


def read_payloads(qdrant_url: str, collection: str) -> list[dict[str, Any]]:
    """Without vectors, which are most of a collection. Of several peers, what most of them say: one
    that was frozen says what was."""
    most = models.ReadConsistencyType.MAJORITY if "," in qdrant_url else None
    with _client(qdrant_url) as client:
        records = _records(client, collection, vectors=False, consistency=most)
        return [dict(record.payload or {}) for record in records]


def delete_points(qdrant_url: str, collection: str, ids: list[str]) -> None:
    """Behind the indexer's back."""
    with _client(qdrant_url) as client:
        client.delete(collection, models.PointIdsList(points=[*ids]), wait=True)


@contextmanager
def _client(qdrant_url: str) -> Iterator[QdrantClient]:
    # With the key that the environment gives.
    client = QdrantClient(**endpoint(load_settings(qdrant_url=qdrant_url)))
    try:
        yield client
    finally:
        client.close()


def _scroll(client: QdrantClient, collection: str) -> Iterator[Row]:
    for record in _records(client, collection, vectors=True):
        assert isinstance(record.vector, dict)
        payload = json.dumps(record.payload, sort_keys=True)
        dense, words = record.vector[DENSE], record.vector[BM25]
        assert isinstance(words, models.SparseVector)
        yield str(record.id), payload, dense, sorted(words.indices)  # type: ignore[misc]


def _records(
    client: QdrantClient,
    collection: str,
    *,
    vectors: bool,
    consistency: models.ReadConsistencyType | None = None,
) -> Iterator[models.Record]:
    offset = None
    while True:
        records, offset = client.scroll(
            collection,
            limit=PAGE,
            offset=offset,
            with_payload=True,
            with_vectors=vectors,
            consistency=consistency,
        )
        yield from (record for record in records if record.id != MARK)
        if offset is None:
            return

"""Reads collections that are not ours: their points' payloads, in the order of ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from qdrant_client import QdrantClient, models

from realm.search.qdrant.connections import Connections
from realm.search.vector_index import ForeignPoint
from realm.settings import Settings

PAGE = 256


def foreign_points(
    settings: Settings, collection: str, after: str | int | None
) -> Iterator[list[ForeignPoint]]:
    """Pages of points beyond the one with the id `after`; None: from the first.

    :raises NotFound: if there is no such collection.
    """

    def read(client: QdrantClient) -> tuple[list[models.Record], Any]:
        return client.scroll(
            collection, limit=PAGE, offset=following, with_payload=True, with_vectors=False
        )

    following = after
    with closing(Connections(settings)) as qdrant:
        while True:
            found, following = qdrant.look(read)
            # A page begins at its offset, which the one before ended with.
            page = [_point(each) for each in found if each.id != after]
            if page:
                yield page
            if following is None:
                return


def _point(record: models.Record) -> ForeignPoint:
    number = record.id if isinstance(record.id, int) else str(record.id)
    return ForeignPoint(number, record.payload or {})

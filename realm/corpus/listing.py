"""The documents of the corpus one after the other, a bounded part of the table at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from realm.corpus.table import BUCKETS, CorpusTable, DocumentState
from realm.filters import matches
from realm.v1.types_pb2 import Filter

#: About so many documents are read at a time, without texts and with.
BAND, BAND_WITH_TEXTS = 20_000, 1_000
#: A page ends after so many documents, whether or not they pass.
MOST_READ = 100_000


class Place(NamedTuple):
    """Where a document stands in the order of listings."""

    bucket: int
    document_id: str


START = Place(-1, "")


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in their order; `end` is where the next page begins, None after the last."""

    documents: list[DocumentState]
    end: Place | None


def documents(
    table: CorpusTable, after: Place = START, *, texts: bool = False
) -> Iterator[DocumentState]:
    """All that exist after a place, in their order; each is in its newest state when it is read."""
    wanted = BAND_WITH_TEXTS if texts else BAND
    width = max(1, BUCKETS * wanted // max(1, table.rows))
    first = max(0, after.bucket)
    while first < BUCKETS:
        for state in table.band(first, first + width, texts=texts):
            if _place(state) > after:
                yield state
        first += width


def page(
    table: CorpusTable,
    given: Filter | None,
    most: int,
    after: Place = START,
    *,
    texts: bool = False,
) -> Page:
    """The next documents that pass, `most` at the most; fewer if many do not."""
    found: list[DocumentState] = []
    for read, state in enumerate(documents(table, after, texts=texts), 1):
        assert state.document is not None
        if matches(given, state.document.metadata):
            found.append(state)
        if len(found) == most or read == MOST_READ:
            return Page(found, _place(state))
    return Page(found, None)


def _place(state: DocumentState) -> Place:
    return Place(state.bucket, state.document_id)

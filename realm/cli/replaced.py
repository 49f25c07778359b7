"""Documents that an import replaces though they came from elsewhere: two folders, one path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from rich.console import Console

from realm.client import Client
from realm.corpus.importers import SOURCE
from realm.errors import RealmError
from realm.v1 import types_pb2

_AT_ONCE = 8
_BATCH = 64
_SHOWN = 10


class Replaced:
    """Asks for each file's document before it is written; ids in JSON Lines are their owner's."""

    def __init__(self, client: Client) -> None:
        #: The documents replaced, each with the place that it came from; empty: none is known.
        self.found: list[dict[str, str]] = []
        self._client = client

    def watch(self, documents: Iterable[types_pb2.Document]) -> Iterator[types_pb2.Document]:
        """The same documents, looked up a batch ahead."""
        documents = iter(documents)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            while batch := list(islice(documents, _BATCH)):
                for document, source in zip(batch, threads.map(self._source, batch), strict=True):
                    if source is not None and source != document.metadata[SOURCE]:
                        self.found.append({"id": document.id, SOURCE: source})
                yield from batch

    def tell(self, console: Console) -> None:
        for each in self.found[:_SHOWN]:
            place = each[SOURCE] or "somewhere else"
            console.print(f"{each['id']} replaces a document that came from {place}", markup=False)
        if len(self.found) > _SHOWN:
            console.print(f"and {len(self.found) - _SHOWN} more", markup=False)
        if self.found:
            console.print("give --prefix NAME to keep folders apart", markup=False)

    def _source(self, document: types_pb2.Document) -> str | None:
        """Where the document of this id came from; None if there is none, or nobody can say."""
        if SOURCE not in document.metadata:
            return None
        try:
            there = self._client.get(document.id).document
        except RealmError:  # no such document; or the write will meet the same fault, and tell
            return None
        return str(there.metadata.get(SOURCE, ""))

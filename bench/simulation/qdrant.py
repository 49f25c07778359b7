"""The simulated Qdrant: collections in memory, reached by each process through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from bench.simulation.network import Network, Service
from realm.corpus.passages import Passage
from realm.errors import DependencyUnavailable, NotFound
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.search.bm25 import SparseVector, passage_weights
from realm.search.vector_index import ChangeHooks, Hit, IndexedPassage, Query

T = TypeVar("T")


@dataclass(slots=True)
class Point:
    passage: Passage
    vector: Vectors
    weighing: Weighing

    @property
    def document_id(self) -> str:
        return self.passage.document_id

    @property
    def version(self) -> int:
        return self.passage.document_version

    @property
    def weights(self) -> SparseVector:
        passage = self.passage
        return passage_weights(passage.terms, passage.term_counts, self.weighing)


Collection = dict[str, Point]


@dataclass
class Qdrant:
    """What the server holds. `poor` names collections whose approximate search finds the wrong."""

    collections: dict[str, Collection] = field(default_factory=dict)
    alias: str | None = None
    poor: set[str] = field(default_factory=set)
    #: Called with a collection after its points changed, or were dropped.
    on_change: Callable[[str, str], None] = lambda verb, name: None

    def copy(self) -> Qdrant:
        return Qdrant(
            {name: dict(points) for name, points in self.collections.items()},
            self.alias,
            set(self.poor),
        )

    def points(self, name: str) -> Collection:
        try:
            return self.collections[name]
        except KeyError:
            raise NotFound(f"collection {name} doesn't exist") from None

    def create(self, name: str) -> None:
        replaced = self.collections.get(name)
        self.collections[name] = {}
        self.on_change("replace" if replaced else "create", name)

    def drop(self, name: str) -> None:
        if self.collections.pop(name, None) is not None:
            self.on_change("drop", name)

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        """One that is there in a newer version than the newest of the call stays as it is."""
        held = self.points(name)
        newest = max((each.version for each in points), default=0)
        for each in points:
            before = held.get(each.passage.passage_id)
            if before is None or before.version <= newest:
                held[each.passage.passage_id] = each
        self.on_change("upsert", name)

    def delete_older(self, name: str, versions: Mapping[str, int]) -> None:
        held = self.points(name)
        older = [
            key for key, each in held.items() if each.version < versions.get(each.document_id, 0)
        ]
        for key in older:
            del held[key]
        self.on_change("delete", name)


class SimulatedIndex:
    """`VectorIndex` of one process, with the hooks where the product has them."""

    def __init__(self, qdrant: Qdrant, network: Network, hooks: ChangeHooks) -> None:
        self.full = ""
        self._qdrant = qdrant
        self._network = network
        self._hooks = hooks

    def create(self, collection: str, vector_size: int) -> None:
        self._hooks.before_drop(collection)
        self._change(collection, "collection", lambda: self._qdrant.create(collection))

    def exists(self, collection: str) -> bool:
        return self._ask(lambda: collection in self._qdrant.collections)

    def collections(self) -> list[str]:
        return self._ask(lambda: sorted(self._qdrant.collections))

    def optimise(self, collection: str) -> None:
        self._change(collection, "optimise", lambda: None)

    def is_optimising(self, collection: str) -> bool:
        return False

    def drop(self, collection: str) -> None:
        self._hooks.before_drop(collection)
        self._hooks.before_change()
        self._put("drop", collection, lambda: self._qdrant.drop(collection))

    def upsert(
        self, collection: str, passages: Sequence[Passage], vectors: Vectors, weighing: Weighing
    ) -> None:
        if not passages:
            return
        points = [
            Point(passage, vector, weighing)
            for passage, vector in zip(passages, vectors, strict=True)
        ]
        self._change(collection, "upsert", lambda: self._qdrant.upsert(collection, points))

    def delete_older(self, collection: str, versions: Mapping[str, int]) -> None:
        if not versions:
            return
        self._change(
            collection, "delete points", lambda: self._qdrant.delete_older(collection, versions)
        )

    def mark(self, collection: str, version: int) -> None:
        """Copies prove versions to gateways alone, which look into collections here."""

    def expect(self, collection: str, version: int) -> None:
        """There is one copy."""

    def marked(self, collection: str) -> int:
        return 1 << 62

    def count(self, collection: str) -> int:
        return self._ask(lambda: len(self._qdrant.points(collection)))

    def count_of(self, collection: str, *document_ids: str) -> int:
        asked = set(document_ids)
        return self._ask(
            lambda: sum(p.document_id in asked for p in self._qdrant.points(collection).values())
        )

    def versions(self, collection: str, passage_ids: Sequence[str]) -> dict[str, int]:
        return {name: point.version for name, point in self._found(collection, passage_ids)}

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]:
        return {name: point.vector for name, point in self._found(collection, passage_ids)}

    def weights(self, collection: str, passage_ids: Sequence[str]) -> dict[str, SparseVector]:
        return {name: point.weights for name, point in self._found(collection, passage_ids)}

    def restore_copies(self, collection: str) -> int:
        return 0

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        """By vectors alone, or by words alone; exact, but for a poor one."""
        asked = np.array([query.vector for query in queries], np.float32)

        def found() -> list[list[Hit]]:
            points = list(self._qdrant.points(collection).values())
            if not points:
                return [[] for _ in queries]
            products = asked @ np.array([each.vector for each in points], np.float32).T
            words = np.array([[q.terms.dot(p.weights) for p in points] for q in queries])
            if collection in self._qdrant.poor:
                products, words = products - 10.0, words - 10.0
            order = np.argsort(-(products if asked.size else words), axis=1)[:, :limit]
            return [
                [Hit(_indexed(points[at].passage), float(row[at]), float(by[at])) for at in best]
                for row, by, best in zip(products, words, order, strict=True)
            ]

        return self._ask(found)

    def alias(self) -> str | None:
        return self._ask(lambda: self._qdrant.alias)

    def point_alias(self, collection: str) -> None:
        def point() -> None:
            self._qdrant.alias = collection

        self._hooks.before_change()
        self._put("alias", collection, point)

    def close(self) -> None:
        """It has nothing open."""

    def _found(self, collection: str, passage_ids: Sequence[str]) -> list[tuple[str, Point]]:
        def found() -> list[tuple[str, Point]]:
            points = self._qdrant.points(collection)
            return [(each, points[each]) for each in passage_ids if each in points]

        return self._ask(found)

    def _ask(self, effect: Callable[[], T]) -> T:
        return self._network.call(Service.QDRANT, "look", "", effect, failure=DependencyUnavailable)

    def _put(self, kind: str, collection: str, effect: Callable[[], None]) -> None:
        self._network.call(
            Service.QDRANT, kind, collection, effect, changes=True, failure=DependencyUnavailable
        )

    def _change(self, collection: str, kind: str, effect: Callable[[], None]) -> None:
        with self._changing(collection):
            self._put(kind, collection, effect)

    @contextmanager
    def _changing(self, collection: str) -> Iterator[None]:
        self._hooks.before_change()
        try:
            yield
        finally:
            self._hooks.after_change(collection)


def _indexed(passage: Passage) -> IndexedPassage:
    return IndexedPassage(
        passage.passage_id,
        passage.document_id,
        passage.document_version,
        passage.ordinal,
        passage.title,
        passage.text,
        passage.start,
        passage.end,
        passage.metadata,
    )

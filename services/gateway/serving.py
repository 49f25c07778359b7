"""The models and the collection of one generation, and the slot with the current ones.

A request pins the `Serving` that it began with until it ends (guarantee 4); a flip replaces the
slot's reference and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import torch

from realm.errors import FailedPrecondition, NotReady
from realm.filters import has_range
from realm.model import cross_encoder
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    QUERY_ENCODER_FILE,
    READER_FILE,
    TOKENIZER_FILE,
    load_query_encoder,
    load_reader,
)
from realm.model.cross_encoder import CrossEncoder, read_cross_encoder
from realm.model.frozen_encoder import FrozenEncoder
from realm.model.inputs import InputBuilder
from realm.model.reader import Reader
from realm.process import memory
from realm.records.generation import Generation, LiveEntry
from realm.records.snapshots import Lag, Snapshot, Snapshots
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.search.queries import QueryMaker
from realm.v1.types_pb2 import Filter

#: For how long a generation beside the current one is kept in memory after it was named last.
OTHER_KEPT_SECONDS = 300.0


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Serving:
    """Query encoder, weights of questions, reader, perhaps cross-encoder, and collection of one
    generation. Compared by identity.
    """

    entry: LiveEntry
    generation: Generation
    inputs: InputBuilder
    encoder: FrozenEncoder
    reader: Reader
    queries: QueryMaker
    dtype: torch.dtype
    cross_encoder: CrossEncoder | None = None

    @property
    def number(self) -> int:
        return self.generation.number

    @property
    def has_bm25(self) -> bool:
        """Collections of older versions have vectors alone."""
        return self.generation.average_terms > 0

    def retrieval(self, asked: Retrieval | None, usual: Retrieval) -> Retrieval:
        """How passages are ranked: as `asked`, else as `usual` as far as the collection can.

        :raises FailedPrecondition: if it does not support what is asked for.
        :raises NotReady: if that takes vectors, and there are none yet.
        """
        if self.generation.words_alone:
            if asked in (None, Retrieval.BM25):
                return Retrieval.BM25
            raise NotReady(
                f"generation {self.number} is of words alone, its vectors are being made: ask with"
                f" {Retrieval.BM25} retrieval, or again later",
                generation=self.number,
            )
        possible = [Retrieval.DENSE]
        if self.has_bm25:
            possible = [Retrieval.RANK_FUSION, Retrieval.BM25, Retrieval.DENSE]
        if self.queries.words is not None or (asked or usual) in possible:
            return asked or usual
        if asked is None:
            return possible[0]
        raise FailedPrecondition(
            f"generation {self.number} was built by an earlier release: ask with"
            f" {' or '.join(possible)} retrieval, or refresh the index"
        )

    def check_filter(self, given: Filter | None) -> None:
        """:raises FailedPrecondition: if the generation cannot apply it."""
        if has_range(given) and not self.generation.ranges:
            raise FailedPrecondition(
                f"generation {self.number} was built by an earlier release, without the numbers and"
                " dates of metadata: filter without ranges, or refresh the index"
            )


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current a generation was when the store was last read.

    `corpus_version` is the version applied to it; a damaged one may miss any of it. `seen_at` is
    the time of the reading, by the monotonic clock.
    """

    corpus_version: int
    lag: Lag = field(default_factory=Lag)
    damaged: bool = False
    seen_at: float = field(default_factory=time.monotonic)

    @property
    def searchable(self) -> int:
        """The corpus version up to which every write can be found for certain."""
        return 0 if self.damaged else self.corpus_version


@dataclass(frozen=True, slots=True)
class PinnedServing:
    """What one request uses from its first step to its last."""

    serving: Serving
    freshness: Freshness


class ServingSlot:
    """The current `Serving`, perhaps another that requests name, who has pinned which, and how
    fresh each is. For the event loop."""

    def __init__(self) -> None:
        self._current: Serving | None = None
        self._other: Serving | None = None
        self._other_used = 0.0
        self._pins: Counter[int] = Counter()
        self._freshness: dict[int, Freshness] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._lost: Serving | None = None

    @property
    def current(self) -> Serving | None:
        return self._current

    @property
    def pinned_generations(self) -> set[int]:
        """Generations that a request or the slot itself needs."""
        pinned = {number for number, count in self._pins.items() if count}
        return pinned | {each.number for each in (self._current, self._other) if each}

    def freshness(self, number: int) -> Freshness | None:
        return self._freshness.get(number)

    @property
    def lost(self) -> Serving | None:
        """The current one, if its collection was gone at the last search."""
        return self._lost if self._lost is self._current else None

    def mark_lost(self, serving: Serving) -> None:
        self._lost = serving

    def mark_found(self, serving: Serving) -> None:
        if self._lost is serving:
            self._lost = None

    def flip(self, serving: Serving, freshness: Freshness) -> None:
        """New requests use `serving` from now on."""
        self._current = serving
        self.update({serving.number: freshness})

    def holds(self, generation: int) -> bool:
        """Whether requests that name it can be answered; those that name none (0) always may."""
        return not generation or self._find(generation) is not None

    def put_other(self, serving: Serving, freshness: Freshness) -> None:
        """Requests that name its generation use it, until it is dropped or out of use."""
        self._other, self._other_used = serving, time.monotonic()
        self.update({serving.number: freshness})

    def drop_other(self) -> None:
        self._other = None

    def update(self, freshness: Mapping[int, Freshness]) -> None:
        """Takes over what the store says; forgets generations that nothing pins, and the other one
        once nobody has named it for `OTHER_KEPT_SECONDS`."""
        if time.monotonic() - self._other_used > OTHER_KEPT_SECONDS:
            self.drop_other()
        for number, found in freshness.items():
            before = self._freshness.get(number)
            # Files of a retired generation are deleted while its last requests end.
            if before is None or found.corpus_version >= before.corpus_version:
                self._freshness[number] = found
        pinned = self.pinned_generations
        self._freshness = {
            number: found for number, found in self._freshness.items() if number in pinned
        }
        self._notify()

    def close(self) -> None:
        """Wakes all waiting requests: the gateway stops."""
        self._closed = True
        self._notify()

    @contextmanager
    def pin(self, generation: int = 0) -> Iterator[PinnedServing]:
        """Pins the current reference for one request, or that of the generation it names.

        :raises NotReady: before the first generation is live; if the one named is not held.
        """
        serving = self._find(generation)
        if serving is None and self._current is not None:
            raise NotReady(
                f"generation {generation} is being loaded; ask again in a moment",
                generation=generation,
            )
        if serving is None:
            raise NotReady("no generation is live yet; `realm status` shows the progress")
        if serving is self._other:
            self._other_used = time.monotonic()
        self._pins[serving.number] += 1
        try:
            # The version applied before the search is a true lower bound of what it sees.
            yield PinnedServing(serving, self._freshness[serving.number])
        finally:
            self._pins[serving.number] -= 1
            self._pins += Counter()  # drops zeros

    async def wait_applied(self, version: int, seconds: float, generation: int = 0) -> None:
        """Waits until new requests see every write up to a corpus version; those, if it is not 0,
        that name this generation.

        :raises NotReady: after `seconds`, with the version applied.
        """
        await self._wait_until(lambda: self.applied(generation) >= version, seconds)
        if (applied := self.applied(generation)) < version:
            serving = self._find(generation)
            raise NotReady(
                "the index is damaged and being rebuilt; ask again in a moment"
                if serving and self._freshness[serving.number].damaged
                else f"corpus version {version} is not in the index yet, it holds version"
                f" {applied}; ask again in a moment",
                corpus_version=applied,
                waited=f"{seconds:.2f}",
            )

    async def wait_flip(self, after: Serving, seconds: float) -> bool:
        """Waits until new requests use another `Serving`; False if there was no flip."""
        await self._wait_until(lambda: self._current is not after, seconds)
        return self._current is not after

    def applied(self, generation: int = 0) -> int:
        """The corpus version that new requests see; those, if it is not 0, that name this
        generation."""
        serving = self._find(generation)
        return self._freshness[serving.number].searchable if serving else 0

    def _find(self, generation: int) -> Serving | None:
        """What answers requests that name it, or that name none."""
        if generation and self._other is not None and self._other.number == generation:
            return self._other
        if self._current is not None and generation in (0, self._current.number):
            return self._current
        return None

    async def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Returns after `seconds` too, and when the slot is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition() and not self._closed:
                    await self._changed.wait()

    def _notify(self) -> None:
        # Current waiters have the old event; later ones wait for the next change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LoadServing(Protocol):
    """As `load_serving`."""

    def __call__(
        self,
        store: Store,
        snapshots: Snapshots,
        snapshot: Snapshot,
        generation: Generation,
        entry: LiveEntry,
        *,
        device: torch.device,
        dtype: torch.dtype,
        before: Serving | None = None,
    ) -> Serving: ...


def load_serving(
    store: Store,
    snapshots: Snapshots,
    snapshot: Snapshot,
    generation: Generation,
    entry: LiveEntry,
    *,
    device: torch.device,
    dtype: torch.dtype,
    before: Serving | None = None,
) -> Serving:
    """Loads a generation's models onto the device and warms them up: one encode, one read.

    :param before: what is served now; the same tokenizer is shared.
    :raises Corrupt, NotFound: if the snapshot's files, or the generation's, are damaged or gone.
    """
    tower = QUERY_ENCODER_FILE if QUERY_ENCODER_FILE in snapshot.files else PASSAGE_ENCODER_FILE
    names = (CONFIG_FILE, TOKENIZER_FILE, tower, READER_FILE, *cross_encoder.FILES)
    folder = snapshots.materialise(snapshot, names)
    same = before is not None and before.generation.fingerprint == snapshot.fingerprint
    known = before.inputs if before and same else None
    # In float32: in bfloat16 f(x, z) would depend on the other questions of a batch, by up to 0.5%.
    loaded = load_query_encoder(folder, known, device=device)
    crossing = read_cross_encoder(folder)
    serving = Serving(
        entry=entry,
        generation=generation,
        inputs=loaded.inputs,
        encoder=loaded.encoder,
        reader=load_reader(folder, device=device, dtype=dtype),
        queries=QueryMaker.of(store, generation, loaded.relevance),
        dtype=dtype,
        cross_encoder=crossing and crossing.to(device),
    )
    warm_up(serving)
    memory.give_back()
    return serving


def warm_up(serving: Serving) -> None:
    """Spares clients the first call of a model, which allocates and compiles."""
    serving.encoder.encode([serving.inputs.query("warm")])
    reading = Reading("warm", ("a first passage",), (0.0,))
    answer_questions(serving.reader, serving.inputs, [reading], dtype=serving.dtype)
    if serving.cross_encoder is not None:
        serving.cross_encoder.scores([("warm", "a first passage")], dtype=serving.dtype)

"""What answers: the models and the collection of one generation, and the one reference to them.

A request holds the `Serving` that it began with until it ends (invariant 1); a flip replaces the
slot's reference and touches nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from realm.errors import FailedPrecondition, NotReady
from realm.model.answering import Reading, answer_questions
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    QUERY_ENCODER_FILE,
    READER_FILE,
    TOKENIZER_FILE,
    load_query_encoder,
    load_reader,
)
from realm.model.encoders import Encoder, encode
from realm.model.inputs import InputBuilder
from realm.model.reader import Reader
from realm.records.generations import Generation, LiveEntry
from realm.records.lag import Lag
from realm.records.snapshots import Snapshot, Snapshots
from realm.retrieval import Retrieval


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Serving:
    """Query encoder, scale s, reader and collection of one generation. Compared by identity."""

    entry: LiveEntry
    generation: Generation
    inputs: InputBuilder
    encoder: Encoder
    reader: Reader
    scale: float
    dtype: torch.dtype

    @property
    def number(self) -> int:
        return self.generation.number

    @property
    def has_bm25(self) -> bool:
        """Collections made before there was BM25 know vectors alone."""
        return self.generation.average_terms > 0

    def retrieval(self, asked: Retrieval | None, usual: Retrieval) -> Retrieval:
        """What chooses the passages: as `asked`, else the `usual` where the collection can.

        :raises FailedPrecondition: if the collection cannot do what is asked for.
        """
        if self.has_bm25 or asked is Retrieval.DENSE:
            return asked or usual
        if asked is None:
            return Retrieval.DENSE
        raise FailedPrecondition(
            f"generation {self.number} was built without BM25: ask with dense retrieval, or"
            " refresh the index"
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a generation stood at the last look at the store.

    `corpus_version` is what was applied to it; of what is damaged nothing is sure to be found.
    `seen_at` is the look's own time, of the monotonic clock.
    """

    corpus_version: int
    lag: Lag = field(default_factory=Lag)
    damaged: bool = False
    seen_at: float = field(default_factory=time.monotonic)

    @property
    def searchable(self) -> int:
        """The corpus version up to which every write is sure to be found."""
        return 0 if self.damaged else self.corpus_version


@dataclass(frozen=True, slots=True)
class Held:
    """What one request answers with, from its first step to its last."""

    serving: Serving
    standing: Standing


class ServingSlot:
    """The one reference, who holds what, and how fresh each is. Lives on the event loop."""

    def __init__(self) -> None:
        self._current: Serving | None = None
        self._holders: Counter[int] = Counter()
        self._standings: dict[int, Standing] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._lost: Serving | None = None

    @property
    def current(self) -> Serving | None:
        return self._current

    @property
    def held_generations(self) -> set[int]:
        """Generations that some request or the slot itself still needs."""
        held = {number for number, count in self._holders.items() if count}
        return held | ({self._current.number} if self._current else set())

    @property
    def draining(self) -> int:
        """Requests of older generations that are still being answered."""
        current = self._current.number if self._current else None
        return sum(count for number, count in self._holders.items() if number != current)

    def standing(self, number: int) -> Standing | None:
        return self._standings.get(number)

    @property
    def lost(self) -> Serving | None:
        """The current one, if its collection was gone when it was last searched."""
        return self._lost if self._lost is self._current else None

    def note_lost(self, serving: Serving) -> None:
        self._lost = serving

    def note_found(self, serving: Serving) -> None:
        if self._lost is serving:
            self._lost = None

    def flip(self, serving: Serving, standing: Standing) -> None:
        """New requests take `serving` from now on."""
        self._current = serving
        self.update({serving.number: standing})

    def update(self, standings: Mapping[int, Standing]) -> None:
        """Takes over what the store says; forgets generations that nobody holds."""
        for number, found in standings.items():
            before = self._standings.get(number)
            # Files of a retired generation are deleted while its last requests end.
            if before is None or found.corpus_version >= before.corpus_version:
                self._standings[number] = found
        held = self.held_generations
        self._standings = {each: self._standings[each] for each in self._standings if each in held}
        self._notify()

    def close(self) -> None:
        """Wakes those who wait: the gateway stops."""
        self._closed = True
        self._notify()

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """The current reference, for one request.

        :raises NotReady: before the first generation is live.
        """
        serving = self._current
        if serving is None:
            raise NotReady("no generation is live yet; `realm status` tells how far it is")
        self._holders[serving.number] += 1
        try:
            # The version applied before the search is a true lower bound of what it sees.
            yield Held(serving, self._standings[serving.number])
        finally:
            self._holders[serving.number] -= 1
            self._holders += Counter()  # drops zeros

    async def wait_applied(self, version: int, seconds: float) -> None:
        """Waits until new requests see every write up to a corpus version.

        :raises NotReady: after `seconds`, with the version that there is.
        """
        try:
            async with asyncio.timeout(seconds):
                while self._applied() < version and not self._closed:
                    await self._change()
        except TimeoutError:
            pass
        if (applied := self._applied()) < version:
            current = self._standings[self._current.number] if self._current else None
            raise NotReady(
                "the index has lost something and is made again; ask again in a moment"
                if current and current.damaged
                else f"corpus version {version} is not in the index yet, it holds version"
                f" {applied}; ask again in a moment",
                corpus_version=applied,
                waited=f"{seconds:.2f}",
            )

    async def wait_flip(self, after: Serving, seconds: float) -> bool:
        """Waits until new requests take another reference; False if none came."""
        try:
            async with asyncio.timeout(seconds):
                while self._current is after and not self._closed:
                    await self._change()
        except TimeoutError:
            pass
        return self._current is not after

    def _applied(self) -> int:
        return self._standings[self._current.number].searchable if self._current else 0

    async def _change(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        # Whoever waits holds the old event; whoever comes later waits for the next change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def load_serving(
    snapshots: Snapshots,
    snapshot: Snapshot,
    generation: Generation,
    entry: LiveEntry,
    *,
    device: torch.device,
    dtype: torch.dtype,
    before: Serving | None = None,
) -> Serving:
    """Loads a generation's models onto the device and warms them: one encode, one read.

    :param before: what is served now; its tokenizer is shared where it is the same.
    :raises Corrupt, NotFound: if the snapshot's files are damaged or gone.
    """
    tower = QUERY_ENCODER_FILE if QUERY_ENCODER_FILE in snapshot.files else PASSAGE_ENCODER_FILE
    folder = snapshots.materialise(snapshot, (CONFIG_FILE, TOKENIZER_FILE, tower, READER_FILE))
    same = before is not None and before.generation.fingerprint == snapshot.fingerprint
    loaded = load_query_encoder(folder, before.inputs if before and same else None)
    serving = Serving(
        entry=entry,
        generation=generation,
        inputs=loaded.inputs,
        encoder=loaded.encoder.to(device),
        reader=load_reader(folder).to(device),
        scale=loaded.scale,
        dtype=dtype,
    )
    warm(serving)
    return serving


def warm(serving: Serving) -> None:
    """The first call of a model pays for allocation and compilation: let no client pay."""
    encode(serving.encoder, [serving.inputs.query("warm")], serving.inputs.pad)
    reading = Reading("warm", ("a first passage",), (0.0,))
    answer_questions(serving.reader, serving.inputs, [reading], dtype=serving.dtype)

"""Begins a generation: passage files of the corpus as it is now, then the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from realm.corpus.passage_files import build_passage_files, shard_count
from realm.errors import Corrupt, DependencyUnavailable, NotFound
from realm.records.generation import Generation, collection_name
from realm.records.states import State
from realm.search.word_statistics import count_words, write_word_statistics
from services.indexer.build.lifecycle import BeginBuild
from services.indexer.context import CorpusReader, Records
from services.indexer.leader.housekeeping import corpus_floor

#: Passages a second of one embedder, until one was seen at work.
FIRST_RATE = 50.0
RATE = "passages_per_second"

log = structlog.get_logger(__name__)


class Builder:
    """Makes manifests. Killed half-way it leaves files that the next attempt finds."""

    def __init__(
        self,
        records: Records,
        corpus: CorpusReader,
        shard_seconds: float,
        collections: Callable[[], list[str]],
        term: Callable[[], int] = lambda: 0,
    ) -> None:
        """:param collections: the names of all that are in Qdrant."""
        self.corpus = corpus
        self._store = records.store
        self._snapshots = records.snapshots
        self._generations = records.generations
        self._inputs = records.inputs
        self._parked = records.parked
        self._shard_seconds = shard_seconds
        self._collections = collections
        self._term = term

    def begin(self, wanted: BeginBuild, version: int, heals: int = 0) -> Generation | None:
        """A new generation of the snapshot and the corpus at `version`; None without documents.

        :param heals: the damaged generation that it is to replace.
        :raises Corrupt, NotFound: if the snapshot cannot be used.
        """
        snapshot_number = wanted.snapshot
        snapshot = self._snapshots.get(snapshot_number)
        # A snapshot of an older release has another fingerprint: its passages are cut again.
        fingerprint = self._inputs.of(snapshot_number).fingerprint
        files = self._passage_files(snapshot_number, fingerprint, version)
        if not files:
            return None
        words = count_words(self._store, files)
        number = self._free_number()
        generation = Generation(
            number=number,
            snapshot=snapshot_number,
            step=snapshot.step,
            corpus_version=version,
            fingerprint=fingerprint,
            vector_size=0 if wanted.words_alone else snapshot.vector_size,
            passage_files=files,
            average_terms=words.average_terms,
            k1=words.k1,
            word_statistics=write_word_statistics(self._store, fingerprint, words),
            collection=collection_name(number),
            created_at=time.time(),
            why=wanted.why,
            forced=wanted.forced,
            request=wanted.request,
            replaces=wanted.replaces,
            term=self._term(),
            heals=heals,
            ranges=True,
            marked=True,
        )
        self._create(generation)
        return generation

    def copy(self, damaged: Generation, wanted: BeginBuild) -> Generation:
        """A generation of the same files, to take the place of one whose collection lost
        something: nothing has to be embedded for it."""
        number = self._free_number()
        generation = replace(
            damaged,
            number=number,
            collection=collection_name(number),
            created_at=time.time(),
            why=wanted.why,
            forced=wanted.forced,
            request=wanted.request,
            replaces=wanted.replaces,
            term=self._term(),
            heals=damaged.number,
            ranges=True,
            marked=True,
            word_statistics=damaged.word_statistics or self._count_words(damaged),
        )
        self._create(generation)
        return generation

    def _count_words(self, generation: Generation) -> str:
        """The file for one that was begun by an earlier release."""
        words = count_words(self._store, generation.passage_files)
        return write_word_statistics(self._store, generation.fingerprint, words)

    def _free_number(self) -> int:
        """Of no generation, and of no collection in Qdrant either: one that this store knows
        nothing of is another store's, or of a store that was wiped, and is not ours to drop."""
        number = self._generations.next_number()
        try:
            taken = set(self._collections())
        except DependencyUnavailable:
            return number
        while collection_name(number) in taken:
            number += 1
        return number

    def _create(self, generation: Generation) -> None:
        self._generations.create(generation)
        self._generations.record(generation.number, State.BUILDING, generation.why)
        log.info(
            "build_begins", generation=generation.number, snapshot=generation.snapshot,
            shards=len(generation.passage_files), corpus_version=generation.corpus_version,
            words_alone=generation.words_alone, why=generation.why,
        )  # fmt: skip

    def _passage_files(self, snapshot: int, fingerprint: str, version: int) -> tuple[str, ...]:
        inputs = self._inputs.of(snapshot)
        count = partial(self._count_shards, rate=self._rate())
        base = self._newest_with(fingerprint)
        if base is not None:
            changed = self._parked.left_out_of_all(
                self.corpus.changes(base.corpus_version, version)
            )
            try:
                return build_passage_files(
                    self._store, inputs, base.passage_files, changed, version, count
                )
            except (Corrupt, NotFound) as error:
                log.warning("passages_cut_again", base=base.number, why=str(error))
                if isinstance(error, Corrupt) and "file" in error.details:
                    self._store.delete(error.details["file"])
        states = self._parked.leave_out(self.corpus.states(version))
        return build_passage_files(self._store, inputs, (), states, version, count)

    def _newest_with(self, fingerprint: str) -> Generation | None:
        floor = corpus_floor(self._store)
        for number in reversed(self._generations.numbers()):
            generation = self._generations.get(number)
            if generation.fingerprint == fingerprint and generation.corpus_version >= floor:
                return generation
        return None

    def _count_shards(self, passages: int, current: int | None, *, rate: float) -> int:
        return shard_count(passages, rate, self._shard_seconds, current)

    def _rate(self) -> float:
        """As seen at the newest generation that reported it."""
        for number in reversed(self._generations.numbers()[-10:]):
            for event in reversed(self._generations.events(number)):
                if event.report.get(RATE):
                    return event.report[RATE]
        return FIRST_RATE

"""Verifies all the time, at bounded cost, that what gateways search is what its files say.

`PointCounts` counts points; here samples of points are compared with the files, one file after the
other, and points are counted in the files where the number is not known. One file is in memory at a
time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import structlog

from realm.corpus.changes import changes_file, read_changes
from realm.corpus.passages import Passage, from_table
from realm.errors import Corrupt, NotFound, RealmError
from realm.records import arrow
from realm.records.controls import damage_of
from realm.records.controls import record_damage as note
from realm.records.generation import Generation
from realm.records.vectors import Vectors, matrix, no_vectors, read_vectors, vector_file
from realm.search.bm25 import passage_weights
from realm.search.vector_index import VectorIndex
from services.indexer.context import CorpusReader, Records
from services.indexer.gate.checks import SAMPLE_TOLERANCE
from services.indexer.gate.content import stored_vectors
from services.indexer.gate.point_counts import CONFIRMATIONS, PAUSE_SHARE, PointCounts
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.replication import ReplicationState

#: Points of one file that are compared at a time.
SAMPLE = 32
#: The retained generation is verified once in so many times.
RETAINED_EVERY = 4

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Window:
    """Passages with their vectors, as they were at a corpus version."""

    passages: str
    vectors: str
    version: int


class Integrity:
    """`run` is a thread's body; `record_damage` may be called from any."""

    def __init__(
        self,
        records: Records,
        index: VectorIndex,
        corpus: CorpusReader,
        replication: ReplicationState,
        metrics: IndexerMetrics,
        on_damage: Callable[[], None],
        pause_seconds: float,
    ) -> None:
        """:param on_damage: called when a generation is recorded as damaged."""
        self._store = records.store
        self._snapshots = records.snapshots
        self._generations = records.generations
        self._index = index
        self._corpus = corpus
        self._replication = replication
        self._metrics = metrics
        self._on_damage = on_damage
        self._pause = pause_seconds
        self._stopping = threading.Event()
        self._rng = random.Random()
        self._turns = 0
        self._cursors: dict[int, int] = {}
        self.counts = PointCounts(index, replication, pause_seconds, self.record_damage)

    def run(self) -> None:
        pause = self._pause
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                self.verify()
            except RealmError as error:
                self._metrics.action_failures.labels("verify").inc()
                log.warning("verify_failed", why=str(error))
            except Exception:
                self._metrics.action_failures.labels("verify").inc()
                log.exception("verify_failed")
            pause = max(self._pause, PAUSE_SHARE * (time.monotonic() - began))

    def stop(self) -> None:
        self._stopping.set()

    def record_damage(self, number: int, why: str) -> None:
        """Notes that a generation is damaged: what is searched is made again elsewhere."""
        if damage_of(self._store, number):
            return
        note(self._store, number, why)
        self._metrics.damages.inc()
        log.error("index_damaged", generation=number, why=why)
        self._on_damage()

    def verify(self) -> None:
        """Compares a sample of one file, and counts points from the files if their number is in
        doubt."""
        if (number := self.counts.recount) is not None:
            try:
                self._recount(number)
            except (Corrupt, NotFound) as error:
                # The next mismatch asks again; samples tell of a loss meanwhile.
                self.counts.recount = None
                self._metrics.corrupt_files.labels("verify").inc()
                log.warning("recount_failed", generation=number, why=str(error))
        serving = self._replication.serving
        if not serving:
            return
        self._turns += 1
        generation = serving[-1] if self._turns % RETAINED_EVERY == 0 else serving[0]
        if fault := self.sample(generation):
            self.record_damage(generation.number, fault)

    def sample(self, generation: Generation) -> str:
        """What is wrong with some points of the next file; empty if nothing is."""
        windows = self._windows(generation)
        at = self._cursors.get(generation.number, 0) % len(windows)
        self._cursors = {generation.number: at + 1} | {
            each.number: self._cursors.get(each.number, 0)
            for each in self._replication.serving
            if each.number != generation.number
        }
        window = windows[at]
        try:
            passages, vectors = self._drawn(generation, window)
        except (Corrupt, NotFound) as error:
            self._metrics.corrupt_files.labels("verify").inc()
            log.warning("window_unreadable", generation=generation.number, why=str(error))
            return ""
        for attempt in range(CONFIRMATIONS):
            if attempt and self._stopping.wait(self._pause):
                return ""
            wrong = self._wrong(generation, window, passages, vectors)
            if not wrong:
                return ""
        return (
            f"{len(wrong)} of {len(passages)} points compared are not those of {window.passages}:"
            f" {wrong[0]} is one"
        )

    def _windows(self, generation: Generation) -> list[_Window]:
        name = self._snapshots.get(generation.snapshot).name
        windows = [
            _Window(path, vector_file(name, path), generation.corpus_version)
            for path in generation.passage_files
        ]
        for after, upto in self._steps(generation):
            source = changes_file(generation.fingerprint, after, upto)
            windows.append(_Window(source, generation.delta_file(after, upto), upto))
        return windows

    def _steps(self, generation: Generation) -> list[tuple[int, int]]:
        """Those that were applied."""
        applied = self._replication.applied(generation.number) or 0
        steps = self._generations.delta_steps(generation.number)
        return [(after, upto) for after, upto in steps if upto <= applied]

    def _drawn(self, generation: Generation, window: _Window) -> tuple[list[Passage], Vectors]:
        table = arrow.read_table(self._store, window.passages)
        rows = sorted(self._rng.sample(range(len(table)), min(SAMPLE, len(table))))
        passages = from_table(_rows(table, rows))
        if generation.words_alone:
            return passages, no_vectors(len(passages))
        theirs = read_vectors(self._store, window.vectors)
        if table["passage_id"].to_pylist() != theirs["passage_id"].to_pylist():
            raise Corrupt(f"{window.vectors} holds the vectors of other passages")
        return passages, matrix(_rows(theirs, rows))

    def _wrong(
        self,
        generation: Generation,
        window: _Window,
        passages: Sequence[Passage],
        vectors: Vectors,
    ) -> list[str]:
        """Ids of the passages that the collection should hold like this, and does not."""
        if not passages:
            return []
        ids = [each.passage_id for each in passages]
        versions = self._index.versions(generation.collection, ids)
        stored = stored_vectors(self._index, generation, ids)
        weights = self._index.weights(generation.collection, ids)
        wrong = []
        for passage, vector in zip(passages, vectors, strict=True):
            name = passage.passage_id
            expected = passage_weights(passage.terms, passage.term_counts, generation.weighing)
            if (
                versions.get(name) != passage.document_version
                or name not in stored
                or not np.allclose(stored[name], vector, atol=SAMPLE_TOLERANCE)
                or name not in weights
                or not weights[name].close_to(expected, SAMPLE_TOLERANCE)
            ):
                wrong.append(passage)
        if not wrong:
            return []
        changed = self._corpus.changed_since(window.version, [e.document_id for e in wrong])
        return [each.passage_id for each in wrong if each.document_id not in changed]

    def _recount(self, number: int) -> None:
        generation = self._generations.get(number)
        if (since := self._replication.applied_and_points(number)) is None:
            self.counts.recount = None
            return
        applied, points = since
        expected = self._points_of(generation, applied)
        self._replication.adjust_points(number, expected - points)
        self.counts.recounted(number)
        log.info("points_counted", generation=number, points=expected, corpus_version=applied)

    def _points_of(self, generation: Generation, applied: int) -> int:
        """How many points the files ask for at a corpus version.

        Remembers, for that long, the documents that have changed since the generation began.
        """
        changed: dict[str, tuple[int, int]] = {}
        for after, upto in self._steps(generation):
            if upto > applied:
                continue
            changes = read_changes(self._store, changes_file(generation.fingerprint, after, upto))
            passages: dict[str, int] = {}
            for passage in changes.passages:
                passages[passage.document_id] = passages.get(passage.document_id, 0) + 1
            for document in changes.documents:
                found = (document.version, passages.get(document.document_id, 0))
                name = document.document_id
                changed[name] = max(changed.get(name, found), found)
        total = sum(points for _, points in changed.values())
        for path in generation.passage_files:
            documents = arrow.read_table(self._store, path)["document_id"].to_pylist()
            total += sum(each not in changed for each in documents)
        return total


def _rows(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    """Arrow's own `take` fails at some types that text may have."""
    return pa.concat_tables([table.slice(row, 1) for row in rows] or [table])

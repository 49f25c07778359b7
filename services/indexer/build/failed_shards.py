"""Shards of a build that no embedder gets through: embedded in pieces instead. What cannot be
embedded is parked, and the next build is made without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from realm.corpus.parked import ParkedDocuments
from realm.errors import Corrupt
from realm.model.inputs import InputBuilder
from realm.records import arrow
from realm.records.failures import allow_retry, faults_of_content
from realm.records.generations import pieces_folder
from realm.records.store import Store
from realm.records.vectors import write_vectors
from services.indexer.build.build import Build
from services.indexer.tasks import TaskSender
from services.indexer.writes.pieces import PiecewiseEmbedding


class FailedShards:
    """Used by the reconciler's thread alone; keeps what it knows of one build."""

    def __init__(
        self,
        store: Store,
        tasks: TaskSender,
        inputs: Callable[[int], InputBuilder],
        parked: ParkedDocuments,
        request_refresh: Callable[[str, int, str], None],
    ) -> None:
        """:param inputs: the input builder of a snapshot, by its number.
        :param ask_refresh: asks for a build: why, of which snapshot, by whom it is forced.
        """
        self._store = store
        self._tasks = tasks
        self._inputs = inputs
        self._parked = parked
        self._ask_refresh = request_refresh
        self._has_asked = False
        self._build = 0
        self._pieces: dict[str, PiecewiseEmbedding] = {}
        self._parked_of: dict[str, int] = {}

    def look(self, build: Build, missing: frozenset[str]) -> frozenset[str]:
        """Which of the missing passage files are not to be embedded whole. Once nothing else is
        missing and documents were parked, the build is given up and one in its place asked for.

        :raises DependencyUnavailable: if queue or store cannot be reached.
        """
        if build.number != self._build:
            self._build, self._has_asked = build.number, False
            self._pieces.clear()
            self._parked_of.clear()
        faults = faults_of_content(self._store)
        failed = {path for path in missing if build.vectors_of(path) in faults}
        failed |= missing & (self._pieces.keys() | self._parked_of.keys())
        for path in sorted(failed - self._parked_of.keys()):
            try:
                self._embed(build, path)
            except Corrupt as error:
                build.hopeless = f"a file is damaged: {error}"
                if file := error.details.get("file"):
                    self._store.delete(file)
        if self._parked_of and missing == self._parked_of.keys():
            # No names: the history outlives a document.
            count = sum(self._parked_of.values())
            build.hopeless = f"no embedder gets through {count} of its documents: they are parked"
            if not self._has_asked:
                self._ask_refresh(build.hopeless, build.snapshot.number, build.generation.forced)
                self._has_asked = True
        return frozenset(failed)

    def _embed(self, build: Build, path: str) -> None:
        output = build.vectors_of(path)
        if path not in self._pieces:
            folder = f"{pieces_folder(build.number)}/{PurePosixPath(path).stem}"
            inputs = self._inputs(build.snapshot.number)
            table = arrow.read_table(self._store, path)
            self._pieces[path] = PiecewiseEmbedding(
                self._store, self._tasks, inputs, build.generation, table, folder
            )
        pieces = self._pieces[path]
        if not pieces.poll():
            if why := pieces.embedders_fail:
                build.hopeless = f"{output} cannot be made, nor any other vectors: {why}"
            return
        if unembeddable := pieces.unembeddable():
            for state, why in unembeddable.items():
                self._parked.park(state, build.snapshot.number, why)
            self._parked_of[path] = len(unembeddable)
        else:
            write_vectors(self._store, output, pieces.vectors())
        allow_retry(self._store, output)
        self._tasks.allow_resend(output)
        pieces.close()
        del self._pieces[path]

"""What the indexer's parts share: the records in its store, each opened once, and how they read the
corpus, each for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from realm.corpus.delta_log import LOG
from realm.corpus.listing import Page, Place, documents, page
from realm.corpus.parked import ParkedDocuments
from realm.corpus.table import CorpusTable, DocumentState, Write
from realm.errors import DamagedCorpus, DependencyUnavailable, NotFound, RealmError
from realm.filters import matches
from realm.model.config import ModelConfig
from realm.model.inputs import InputBuilder
from realm.records.controls import Controls
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.v1.types_pb2 import Filter

INPUT_FILES = ("config.json", "tokenizer.json")


class SeenVersion:
    """The newest corpus version that any part of a process has seen. Thread-safe."""

    def __init__(self) -> None:
        self._version = 0
        self._lock = threading.Lock()

    @property
    def version(self) -> int:
        return self._version

    def saw(self, version: int) -> None:
        with self._lock:
            self._version = max(self._version, version)


class CorpusReader:
    """A view of the table that follows its writer: opened on first use, reopened after a fault.

    Thread-safe; one call at a time, but for the files that `get` reads.
    """

    def __init__(
        self, open_table: Callable[[], CorpusTable], newest: SeenVersion | None = None
    ) -> None:
        """:param newest: shared by the writer and all readers of a process."""
        self._open = open_table
        self._newest = newest or SeenVersion()
        self._table: CorpusTable | None = None
        #: By version, of the last one asked about.
        self._oldest: dict[int, float] = {}
        self._lock = threading.Lock()

    def version(self) -> int:
        """The newest acknowledged corpus version.

        :raises DependencyUnavailable: if the table cannot be read; so do the others.
        :raises DamagedCorpus: if it has lost a version that was there; so do the others.
        """
        with self._reading() as table:
            return self._refresh(table)

    def changes(self, after: int, upto: int) -> list[DocumentState]:
        """Documents changed in after < version ≤ upto, each in its newest state there."""
        with self._reading() as table:
            return table.changes(after, upto)

    def writes(self, after: int, upto: int) -> list[Write]:
        """What was written in after < version ≤ upto, without texts, in order of versions."""
        with self._reading() as table:
            return table.writes(after, upto)

    def changed_since(self, version: int, document_ids: Sequence[str]) -> set[str]:
        """Those of the documents that were written or deleted in a later version."""
        with self._reading() as table:
            self._refresh(table)
            return table.changed_since(version, document_ids)

    def states(self, upto: int) -> list[DocumentState]:
        """Every document that exists at a version."""
        with self._reading() as table:
            return list(table.states(upto))

    def page(self, given: Filter | None, most: int, after: Place, *, texts: bool = False) -> Page:
        """The next documents that pass, in the order of listings."""
        with self._reading() as table:
            self._refresh(table)
            return page(table, given, most, after, texts=texts)

    def matching(self, given: Filter, most: int) -> tuple[list[str], int, bool]:
        """Ids of documents that pass, the version at which they did, and whether there are more."""
        with self._reading() as table:
            version = self._refresh(table)
            passing = (
                each.document_id
                for each in documents(table)
                if each.document is not None and matches(given, each.document.metadata)
            )
            found = list(islice(passing, most + 1))
            return found[:most], version, len(found) > most

    def get(self, document_id: str) -> DocumentState | None:
        """A document as it was last written; None if it does not exist. Its files are read beside
        other calls: they never change."""
        tried = -1
        while True:
            with self._reading() as table:
                version = self._refresh(table)
                read = table.lookup(document_id)
            try:
                with self._translated():
                    return read()
            except NotFound as error:
                if version == tried:
                    raise DamagedCorpus(f"the corpus lacks a file: {error}") from error
                tried = version

    def oldest_write(self, after: int) -> float | None:
        """Unix time of the oldest write in a version > `after`; None if there is none. Once there
        is one it stays the oldest, and is not read again."""
        with self._reading() as table:
            if after not in self._oldest:
                found = table.oldest_write(after)
                self._oldest = {} if found is None else {after: found}
            return self._oldest.get(after)

    def _refresh(self, table: CorpusTable) -> int:
        expected = self._newest.version
        version = table.refresh()
        if version < expected:
            # Whoever follows entry by entry cannot tell a lost one from the end.
            raise DamagedCorpus(
                f"the corpus ends at version {version}, but version {expected} was there: restore"
                f" what {LOG} has lost from a backup",
                file=LOG,
            )
        self._newest.saw(version)
        return version

    @contextmanager
    def _reading(self) -> Iterator[CorpusTable]:
        with self._lock, self._translated():
            if self._table is None:
                self._table = self._open()
            yield self._table

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RealmError:
            raise
        except Exception as error:  # what Arrow raises has no common base but this
            self._table = None
            raise DependencyUnavailable(f"the corpus cannot be read: {error}") from error


class SnapshotInputs:
    """The input builder of each snapshot, read once; needs no torch. Thread-safe.

    Snapshots of one fingerprint share a builder.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._by_fingerprint: dict[str, InputBuilder] = {}
        self._lock = threading.Lock()

    def of(self, number: int) -> InputBuilder:
        """:raises NotFound: if there is no such snapshot.
        :raises Corrupt: if its files are damaged.
        """
        snapshot = self._snapshots.get(number)
        with self._lock:
            if snapshot.fingerprint not in self._by_fingerprint:
                self._by_fingerprint[snapshot.fingerprint] = self._read(snapshot)
            return self._by_fingerprint[snapshot.fingerprint]

    def _read(self, snapshot: Snapshot) -> InputBuilder:
        folder = self._snapshots.materialise(snapshot, INPUT_FILES)
        config = ModelConfig.from_json((folder / "config.json").read_bytes())
        return InputBuilder.from_folder(folder, config.lengths, config.prompts, config.scripts)


@dataclass(frozen=True, slots=True)
class Records:
    """A store and what lies in it."""

    store: Store
    snapshots: Snapshots
    generations: Generations
    controls: Controls
    parked: ParkedDocuments
    inputs: SnapshotInputs

    @classmethod
    def of(cls, store: Store) -> Records:
        snapshots = Snapshots(store)
        return cls(
            store,
            snapshots,
            Generations(store),
            Controls(store),
            ParkedDocuments(store),
            SnapshotInputs(snapshots),
        )

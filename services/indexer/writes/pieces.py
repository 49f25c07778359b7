"""Embeds a table of passages in pieces: bounded tasks that several embedders share.

A piece that no embedder gets through is split until it holds a single document, which is then
known to be unembeddable; the others are embedded without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import pyarrow as pa
import structlog

from realm.corpus.documents import Document
from realm.corpus.passage_files import content_name, cut
from realm.corpus.table import DocumentState
from realm.errors import Corrupt, NotFound
from realm.model.inputs import InputBuilder
from realm.process.queue import EMBED_CHANGES
from realm.records import arrow
from realm.records.failures import Faults, allow_retry, clear_failure
from realm.records.generation import Generation
from realm.records.store import Store
from realm.records.task_files import piece_files
from realm.records.vectors import read_vectors, to_table
from services.indexer.tasks import TaskSender, task_for

#: Passages in a piece: some seconds of work on a slow machine.
PIECE_PASSAGES = 64
#: Most parts that a failed piece is split into.
FAN_OUT = 16
#: Pieces requested at a time: other work waits in the same queue.
AT_ONCE = 16
#: Pause before everything is tried again because embedders failed at a harmless sentence too.
AGAIN_SECONDS = 30.0
HARMLESS = Document("", "", "The sky is blue.")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows start ≤ row < stop of a table of passages."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the store: the files in the folder, and what stands against tasks."""

    files: set[str]
    faults: Faults


class PieceStatus(Enum):
    """FAILED: no embedder gets through it."""

    MADE = auto()
    WAITING = auto()
    FAILED = auto()


class PieceSplitter:
    """Which pieces of a table are wanted or made, and which single documents failed.

    :param documents: the document of each row; the rows of one document are adjacent.
    """

    def __init__(self, documents: Sequence[str], limit: int = PIECE_PASSAGES) -> None:
        self._documents = documents
        rows = len(documents)
        self.wanted = [Piece(at, min(at + limit, rows)) for at in range(0, rows, limit)]
        self.made: list[Piece] = []
        self.failed: dict[str, Piece] = {}

    def update(self, status: Callable[[Piece], PieceStatus]) -> list[Piece]:
        """Asks for the status of the first pieces; returns those to be made now."""
        asked, rest = self.wanted[:AT_ONCE], self.wanted[AT_ONCE:]
        parts: list[Piece] = []
        waiting: list[Piece] = []
        for piece in asked:
            match status(piece):
                case PieceStatus.MADE:
                    self.made.append(piece)
                case PieceStatus.WAITING:
                    waiting.append(piece)
                case PieceStatus.FAILED:
                    if smaller := self._split(piece):
                        parts += smaller
                    else:
                        self.failed[self._documents[piece.start]] = piece
        self.wanted = [each for each in waiting + parts + rest if self.rows(each)]
        return self.wanted[:AT_ONCE]

    def rows(self, piece: Piece) -> list[int]:
        """Its rows of documents that can be embedded."""
        rows = range(piece.start, piece.stop)
        return [row for row in rows if self._documents[row] not in self.failed]

    def _split(self, piece: Piece) -> list[Piece]:
        """Smaller pieces, between documents; none if it holds a single document."""
        begins = [
            row
            for row in range(piece.start, piece.stop)
            if row == piece.start or self._documents[row] != self._documents[row - 1]
        ]
        if len(begins) == 1:
            return []
        begins = begins[:: -(-len(begins) // FAN_OUT)]
        stops = [*begins[1:], piece.stop]
        return [Piece(start, stop) for start, stop in zip(begins, stops, strict=True)]


class PiecewiseEmbedding:
    """Has a table embedded for a generation; call `poll` until it returns True.

    The names of inputs and vectors follow from their content: what was made is found again after
    a restart, and by a step that was planned differently.
    """

    def __init__(
        self,
        store: Store,
        tasks: TaskSender,
        inputs: InputBuilder,
        generation: Generation,
        table: pa.Table,
        folder: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param folder: for inputs and vectors; nothing else uses it."""
        self._store = store
        self._tasks = tasks
        self._folder = folder
        self._input_folder = f"{folder}/{generation.fingerprint}"
        self._inputs = inputs
        self._generation = generation
        self._table = table
        self._clock = clock
        self._not_before = clock()
        #: Why embedders failed at a harmless sentence, the last time they did.
        self.embedders_fail = ""
        #: Documents that failed before embedders got through a harmless sentence.
        self._retried: set[str] = set()
        self._start()

    def _start(self) -> None:
        self._splitter = PieceSplitter(self._table["document_id"].to_pylist())
        self._why: dict[Piece, str] = {}
        self._names: dict[Piece, str] = {}

    def poll(self) -> bool:
        """Requests what is missing; True once all that can be embedded is.

        :raises DependencyUnavailable: if queue or store cannot be reached.
        """
        if self._clock() < self._not_before:
            return False
        seen = Seen(set(self._store.files(self._folder)), Faults(self._store))
        for piece in self._splitter.update(lambda piece: self._status(piece, seen)):
            self._request(self._name(piece), self._rows(piece), seen)
        return not self._splitter.wanted and self._failures_are_final(seen)

    def unembeddable(self) -> dict[DocumentState, str]:
        """The documents that cannot be embedded, as states without the document, and why."""
        found: dict[DocumentState, str] = {}
        for document_id, piece in self._splitter.failed.items():
            version = self._table["document_version"][piece.start].as_py()
            found[DocumentState(document_id, version, None, 0)] = self._why[piece]
        return found

    def vectors(self) -> pa.Table:
        """The vectors of the other documents' passages, in the order of the table.

        :raises NotFound, Corrupt: if a piece is gone or damaged by now: poll again.
        """
        nothing = np.zeros((0, self._generation.vector_size), np.float32)
        tables = [to_table([], [], nothing, {})]
        for piece in sorted(self._splitter.made, key=lambda piece: piece.start):
            output = self._output(self._name(piece))
            try:
                table = read_vectors(self._store, output)
            except (Corrupt, NotFound):
                self._store.delete(output)
                self._tasks.allow_resend(output)
                self._start()
                raise
            rows = [row - piece.start for row in self._splitter.rows(piece)]
            tables.append(table.take(pa.array(rows, pa.int64())).replace_schema_metadata(None))
        return pa.concat_tables(tables)

    def abandon(self) -> None:
        """Makes embedders stop; what was made stays, for a new plan to find."""
        self._store.delete_folder(self._input_folder)

    def close(self) -> None:
        """Deletes inputs and vectors: the result is stored elsewhere."""
        for piece in self._why:
            allow_retry(self._store, self._output(self._name(piece)))
        self._store.delete_folder(self._folder)

    def _output(self, name: str) -> str:
        return self._files(name)[1]

    def _files(self, name: str) -> tuple[str, str]:
        return piece_files(self._folder, self._generation.fingerprint, name)

    def _rows(self, piece: Piece) -> pa.Table:
        return self._table.slice(piece.start, piece.stop - piece.start)

    def _name(self, piece: Piece) -> str:
        if piece not in self._names:
            self._names[piece] = content_name(self._rows(piece))
        return self._names[piece]

    def _status(self, piece: Piece, seen: Seen) -> PieceStatus:
        output = self._output(self._name(piece))
        if output in seen.files:
            return PieceStatus.MADE
        if why := seen.faults.of_content(output):
            self._why[piece] = why
            return PieceStatus.FAILED
        return PieceStatus.WAITING

    def _request(self, name: str, table: pa.Table, seen: Seen) -> None:
        source, output = self._files(name)
        if output in seen.files:
            return
        failure = seen.faults.failure_of(output)
        if source not in seen.files or (failure is not None and failure.blames_input):
            arrow.write_table(self._store, source, table.replace_schema_metadata(None))
            if failure is not None:
                clear_failure(self._store, output)
            self._tasks.allow_resend(output)
        self._tasks.send(task_for(EMBED_CHANGES, self._generation, source, output))

    def _failures_are_final(self, seen: Seen) -> bool:
        """Whether the documents failed again after embedders got through a harmless sentence.

        If embedders do not get through that, everything is tried again after a while.
        """
        failed = self._splitter.failed
        if failed.keys() <= self._retried:
            return True
        name = content_name(self._table.take(pa.array([p.start for p in failed.values()])))
        output = self._output(f"{name}-harmless")
        if output in seen.files:
            self._retried |= failed.keys()
            self._retry(list(failed.values()))
        elif not (why := seen.faults.of_content(output)):
            harmless = cut([DocumentState("", 1, HARMLESS, 0)], self._inputs)
            self._request(f"{name}-harmless", harmless, seen)
        else:
            log.error("embedders_fail", generation=self._generation.number, why=why)
            self.embedders_fail = why
            allow_retry(self._store, output)
            self._tasks.allow_resend(output)
            self._retried.clear()
            self._not_before = self._clock() + AGAIN_SECONDS
            self._retry(list(self._why))
        return False

    def _retry(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            output = self._output(self._name(piece))
            allow_retry(self._store, output)
            self._tasks.allow_resend(output)
        self._start()

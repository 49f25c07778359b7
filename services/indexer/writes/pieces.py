"""A table of passages embedded in pieces: bounded tasks that several embedders share.

A piece that no embedder gets through is divided until it is of one document, which is then known
not to be embeddable; the others are embedded without it.
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
from realm.records.failures import allow_retry, clear_failure, failure_of, fault_of_content
from realm.records.generations import Generation
from realm.records.store import Store
from realm.records.vectors import read_vectors, to_table
from services.indexer.tasks import TaskSender, wanted

#: Passages of one piece: some seconds of work on a slow machine.
PIECE_PASSAGES = 64
#: A piece that fails is divided into so many at the most.
FAN_OUT = 16
#: Pieces that are asked for at a time: other work stands in the same queue.
AT_ONCE = 16
#: Pause before all is tried again because embedders failed at a harmless sentence too.
AGAIN_SECONDS = 30.0
HARMLESS = Document("", "", "The sky is blue.")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows start ≤ row < stop of a table of passages."""

    start: int
    stop: int


class PieceStatus(Enum):
    """What became of a piece. FAILED: no embedder gets through it."""

    MADE = auto()
    WAITING = auto()
    FAILED = auto()


class PieceSplitter:
    """Which pieces of a table are wanted or made, and which documents pieces came down to.

    :param documents: the document of each row; the rows of one document stand together.
    """

    def __init__(self, documents: Sequence[str], limit: int = PIECE_PASSAGES) -> None:
        self._documents = documents
        rows = len(documents)
        self.wanted = [Piece(at, min(at + limit, rows)) for at in range(0, rows, limit)]
        self.made: list[Piece] = []
        self.failed: dict[str, Piece] = {}

    def look(self, fate: Callable[[Piece], PieceStatus]) -> list[Piece]:
        """Asks what became of the first pieces; returns those of them that are to be made."""
        asked, rest = self.wanted[:AT_ONCE], self.wanted[AT_ONCE:]
        divided: list[Piece] = []
        waiting: list[Piece] = []
        for piece in asked:
            match fate(piece):
                case PieceStatus.MADE:
                    self.made.append(piece)
                case PieceStatus.WAITING:
                    waiting.append(piece)
                case PieceStatus.FAILED:
                    if parts := self._parts(piece):
                        divided += parts
                    else:
                        self.failed[self._documents[piece.start]] = piece
        self.wanted = [each for each in waiting + divided + rest if self._is_needed(each)]
        return self.wanted[:AT_ONCE]

    def rows(self, piece: Piece) -> list[int]:
        """Its rows of documents that can be embedded."""
        rows = range(piece.start, piece.stop)
        return [row for row in rows if self._documents[row] not in self.failed]

    def _parts(self, piece: Piece) -> list[Piece]:
        """Smaller pieces, of whole documents where they stood; none if it is of one document."""
        rows = range(piece.start, piece.stop)
        begins = [
            row
            for row in rows
            if row == piece.start or self._documents[row] != self._documents[row - 1]
        ]
        if len(begins) == 1:
            return []
        begins = begins[:: -(-len(begins) // FAN_OUT)]
        return [
            Piece(start, stop)
            for start, stop in zip(begins, [*begins[1:], piece.stop], strict=True)
        ]

    def _is_needed(self, piece: Piece) -> bool:
        return bool(self.rows(piece))


class PiecewiseEmbedding:
    """Has a table embedded for a generation; `look` again and again until it is settled.

    Names of inputs and vectors follow from their
    content: what was made is found again after a restart, and by whoever plans otherwise.
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
        """:param folder: for inputs and vectors, in the generation's own: nobody else's."""
        self._store = store
        self._tasks = tasks
        self._folder = folder
        self._inputs = inputs
        self._generation = generation
        self._table = table
        self._clock = clock
        self._not_before = clock()
        #: Why embedders failed at a harmless sentence, the last time that they did.
        self.embedders_fail = ""
        #: Documents that failed before embedders got through a harmless sentence.
        self._tried_again: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        self._division = PieceSplitter(self._table["document_id"].to_pylist())
        self._why: dict[Piece, str] = {}
        self._names: dict[Piece, str] = {}

    def look(self) -> bool:
        """Asks for what is missing; True if all is made but what cannot be.

        :raises DependencyUnavailable: if queue or store cannot be reached.
        """
        if self._clock() < self._not_before:
            return False
        there = set(self._store.files(self._folder))
        for piece in self._division.look(lambda piece: self._fate(piece, there)):
            self._ask(self._name(piece), self._piece(piece), there)
        return not self._division.wanted and self._is_their_fault(there)

    def unembeddable(self) -> dict[DocumentState, str]:
        """The documents that cannot be embedded, as states without the document, and why."""
        found: dict[DocumentState, str] = {}
        for document_id, piece in self._division.failed.items():
            version = self._table["document_version"][piece.start].as_py()
            found[DocumentState(document_id, version, None, 0)] = self._why[piece]
        return found

    def vectors(self) -> pa.Table:
        """The vectors of the other documents' passages, in the order of the table.

        :raises NotFound, Corrupt: if a piece is gone or damaged by now: look again.
        """
        nothing = np.zeros((0, self._generation.vector_size), np.float32)
        tables = [to_table([], [], nothing, {})]
        for piece in sorted(self._division.made, key=lambda piece: piece.start):
            output = self._output(self._name(piece))
            try:
                table = read_vectors(self._store, output)
            except (Corrupt, NotFound):
                self._store.delete(output)
                self._tasks.allow_resend(output)
                self._begin()
                raise
            rows = [row - piece.start for row in self._division.rows(piece)]
            tables.append(table.take(pa.array(rows, pa.int64())).replace_schema_metadata(None))
        return pa.concat_tables(tables)

    def give_up(self) -> None:
        """Embedders stop what they are at; what was made stays, to be found by a new plan."""
        self._store.delete_folder(self._input_folder)

    def close(self) -> None:
        """Nothing of the work is needed any more."""
        for piece in self._why:
            allow_retry(self._store, self._output(self._name(piece)))
        self._store.delete_folder(self._folder)

    @property
    def _input_folder(self) -> str:
        return f"{self._folder}/{self._generation.fingerprint}"

    def _output(self, name: str) -> str:
        return f"{self._folder}/vectors/{name}.arrow"

    def _piece(self, piece: Piece) -> pa.Table:
        return self._table.slice(piece.start, piece.stop - piece.start)

    def _name(self, piece: Piece) -> str:
        if piece not in self._names:
            self._names[piece] = content_name(self._piece(piece))
        return self._names[piece]

    def _fate(self, piece: Piece, there: set[str]) -> PieceStatus:
        output = self._output(self._name(piece))
        if output in there:
            return PieceStatus.MADE
        if why := fault_of_content(self._store, output):
            self._why[piece] = why
            return PieceStatus.FAILED
        return PieceStatus.WAITING

    def _ask(self, name: str, table: pa.Table, there: set[str]) -> None:
        source, output = f"{self._input_folder}/{name}.arrow", self._output(name)
        if output in there:
            return
        failure = failure_of(self._store, output)
        if source not in there or (failure is not None and failure.blames_input):
            arrow.write_table(self._store, source, table.replace_schema_metadata(None))
            clear_failure(self._store, output)
            self._tasks.allow_resend(output)
        self._tasks.send(wanted(EMBED_CHANGES, self._generation, source, output))

    def _is_their_fault(self, there: set[str]) -> bool:
        """Whether the documents failed again after embedders got through a harmless sentence. If
        these do not get through that, all is tried again after a while."""
        failed = self._division.failed
        if failed.keys() <= self._tried_again:
            return True
        name = content_name(self._table.take(pa.array([p.start for p in failed.values()])))
        output = self._output(f"{name}-harmless")
        if output in there:
            self._tried_again |= failed.keys()
            self._once_more(list(failed.values()))
            return False
        if not (why := fault_of_content(self._store, output)):
            harmless = cut([DocumentState("", 1, HARMLESS, 0)], self._inputs)
            self._ask(f"{name}-harmless", harmless, there)
            return False
        log.error("embedders_fail", generation=self._generation.number, why=why)
        self.embedders_fail = why
        allow_retry(self._store, output)
        self._tasks.allow_resend(output)
        self._tried_again.clear()
        self._not_before = self._clock() + AGAIN_SECONDS
        self._once_more(list(self._why))
        return False

    def _once_more(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            output = self._output(self._name(piece))
            allow_retry(self._store, output)
            self._tasks.allow_resend(output)
        self._begin()

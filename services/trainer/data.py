"""What the trainer learns from: passages of the newest generation, and a file of questions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import structlog

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, from_table
from realm.errors import RealmError
from realm.objectives.candidates import Candidate
from realm.objectives.sources import Questions, parse_questions_file, read_questions_file
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.states import ACTIVE, IN_PROGRESS, State
from realm.records.store import Store
from services.trainer.context import Background

POLL_QUESTIONS_SECONDS = 30.0

_log = structlog.get_logger(__name__)


class CorpusView:
    """Passages by row and by id; `files` are those they came from.

    Held as Arrow tables, a few hundred megabytes where Python objects would be gigabytes; a passage
    becomes an object when it is drawn.
    """

    def __init__(self, files: tuple[str, ...], tables: dict[str, pa.Table]) -> None:
        self.files = files
        self.tables = tables
        filled = [tables[file] for file in files if tables[file].num_rows]
        # Files of earlier releases lack the last columns.
        self._table = pa.concat_tables(filled, promote_options="default") if filled else None
        self._rows = {passage_id: row for row, passage_id in enumerate(self._column("passage_id"))}
        kept_back = [is_held_out(name) for name in self._column("document_id")]
        self.held_out = np.flatnonzero(np.asarray(kept_back, dtype=np.bool_))
        self.trainable = np.flatnonzero(~np.asarray(kept_back, dtype=np.bool_))

    def __len__(self) -> int:
        return len(self._rows)

    def passage(self, row: int) -> Passage:
        assert self._table is not None
        return from_table(self._table.slice(row, 1))[0]

    def find(self, passage_id: str) -> Passage | None:
        row = self._rows.get(passage_id)
        return None if row is None else self.passage(row)

    def of_document(self, document_id: str) -> list[Candidate]:
        """A document's passages, in their order; none of an unknown document."""
        rows = self._by_document.get(document_id, ())
        return [Candidate.of(self.passage(row)) for row in rows]

    @cached_property
    def _by_document(self) -> dict[str, list[int]]:
        """Built on first use: most objectives never look for a document."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self._column("document_id")):
            rows.setdefault(name, []).append(row)
        return rows

    def _column(self, name: str) -> list[str]:
        column: list[str] = self._table.column(name).to_pylist() if self._table else []
        return column


class Sampler:
    """Endless passages to learn from, each once an epoch, in an order that the seed decides."""

    def __init__(self, view: CorpusView, seed: int, epoch: int = 0, position: int = 0) -> None:
        self._view = view
        self._seed = seed
        self._epoch = epoch
        self._position = position
        self._order = self._shuffled()

    def __iter__(self) -> Sampler:
        return self

    def __next__(self) -> Passage:
        """:raises StopIteration: if there is nothing to learn from."""
        if not len(self._order):
            raise StopIteration
        if self._position >= len(self._order):
            self._epoch, self._position = self._epoch + 1, 0
            self._order = self._shuffled()
        row = int(self._order[self._position])
        self._position += 1
        return self._view.passage(row)

    def over(self, view: CorpusView) -> Sampler:
        """The next epoch, over another view."""
        return Sampler(view, self._seed, self._epoch + 1)

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "position": self._position}

    def _shuffled(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng((self._seed, self._epoch)).permutation(self._view.trainable)


class TrainingPassages:
    """The view in use and the sampler over it.

    :param state: of the sampler to go on with, as it was saved.
    """

    def __init__(self, seed: int, state: dict[str, Any] | None = None) -> None:
        self.view: CorpusView | None = None
        self.sampler: Sampler | None = None
        self._seed = seed
        self._saved = dict(state or {"epoch": 0, "position": 0})

    def adopt(self, view: CorpusView) -> None:
        self.view = view
        self.sampler = (
            self.sampler.over(view) if self.sampler else Sampler(view, self._seed, **self._saved)
        )

    def state(self) -> dict[str, Any]:
        return self.sampler.state() if self.sampler else self._saved


def newest_generation(generations: Generations, fingerprint: str) -> Generation | None:
    """The newest usable one whose passages were cut with this fingerprint."""
    for number in reversed(generations.numbers()):
        if generations.state(number) not in ACTIVE | IN_PROGRESS:
            continue
        generation = generations.get(number)
        if generation.fingerprint == fingerprint:
            return generation
    return None


def state_of_snapshot(generations: Generations, snapshot: int) -> State | None:
    """Of the newest generation with its vectors; None before there is one."""
    all_made = map(generations.get, generations.numbers())
    made = [each.number for each in all_made if each.snapshot == snapshot and each.vector_size]
    return generations.state(made[-1]) if made else None


def read_view(store: Store, files: tuple[str, ...], known: CorpusView | None) -> CorpusView:
    """Reads the files that `known` does not hold yet.

    :raises NotFound, Corrupt, DependencyUnavailable:
    """
    held = known.tables if known else {}
    tables = {file: held[file] if file in held else arrow.read_table(store, file) for file in files}
    return CorpusView(files, tables)


class QuestionWatch:
    """Reads the file of REALM_TRAIN_QUESTIONS again now and then, in the background.

    :param questions: those in use, replaced when the file holds others.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        questions: Questions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._store = store
        self._questions = questions
        self._clock = clock
        self._reading: Background[bytes] = Background("read-questions")
        self._seen = b""
        self._poll_at = 0.0

    def poll(self) -> str | None:
        """Call between steps. The file's text, once, if it has changed and is in use now.

        Never raises: a file that cannot be read or has an unusable line changes nothing.
        """
        try:
            text = self._reading.take()
            if text is None:
                self._start()
                return None
            digest = hashlib.sha256(text).digest()
            if digest == self._seen:
                return None
            self._seen = digest
            found = parse_questions_file(text, self._name)
        except RealmError as error:
            _log.warning("questions_not_taken", why=error.message)
            return None
        if found == self._questions.all:
            return None
        self._questions.replace(found)
        _log.info("questions_taken", questions=len(found))
        return text.decode()

    def _start(self) -> None:
        now = self._clock()
        if not self._reading.busy and now >= self._poll_at:
            self._poll_at = now + POLL_QUESTIONS_SECONDS
            self._reading.start(lambda: read_questions_file(self._name, self._store))

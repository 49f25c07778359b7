"""The passages that the trainer learns from: those of the newest generation's passage files.

Held as Arrow tables, a few hundred megabytes where Python objects would be gigabytes; a passage
becomes an object when it is drawn.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, from_table
from realm.objectives.candidates import Candidate
from realm.records import arrow
from realm.records.generations import Generation, Generations
from realm.records.states import ACTIVE, IN_PROGRESS
from realm.records.store import Store


class CorpusView:
    """Passages by row and by id; `files` are those they came from."""

    def __init__(self, files: tuple[str, ...], tables: dict[str, pa.Table]) -> None:
        self.files = files
        self.tables = tables
        filled = [tables[file] for file in files if tables[file].num_rows]
        self._table = pa.concat_tables(filled) if filled else None
        ids = self._table.column("passage_id").to_pylist() if self._table else []
        self._rows = {passage_id: row for row, passage_id in enumerate(ids)}
        documents = self._table.column("document_id").to_pylist() if self._table else []
        kept_back = np.asarray([is_held_out(name) for name in documents], dtype=np.bool_)
        self.trainable = np.flatnonzero(~kept_back)
        self.held_out = np.flatnonzero(kept_back)

    def __len__(self) -> int:
        return len(self._rows)

    def passage(self, row: int) -> Passage:
        assert self._table is not None
        return from_table(self._table.slice(row, 1))[0]

    def of_document(self, document_id: str) -> list[Candidate]:
        """A document's passages, in their order; none of an unknown document."""
        rows = self._by_document.get(document_id, ())
        return [Candidate.of(self.passage(row)) for row in rows]

    @cached_property
    def _by_document(self) -> dict[str, list[int]]:
        """Built when it is asked for: most objectives never look for a document."""
        rows: dict[str, list[int]] = {}
        names = self._table.column("document_id").to_pylist() if self._table else []
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        return rows

    def find(self, passage_id: str) -> Passage | None:
        row = self._rows.get(passage_id)
        return None if row is None else self.passage(row)


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


def newest_generation(generations: Generations, fingerprint: str) -> Generation | None:
    """The newest one whose passages were cut with this fingerprint and are not given up."""
    for number in reversed(generations.numbers()):
        if generations.state(number) not in ACTIVE | IN_PROGRESS:
            continue
        generation = generations.get(number)
        if generation.fingerprint == fingerprint:
            return generation
    return None


def load_view(store: Store, generation: Generation, known: CorpusView | None) -> CorpusView:
    """As `read_view`, of a generation's files."""
    return read_view(store, generation.passage_files, known)


def read_view(store: Store, files: tuple[str, ...], known: CorpusView | None) -> CorpusView:
    """Reads the files that `known` does not hold yet.

    :raises NotFound, Corrupt, DependencyUnavailable:
    """
    held = known.tables if known else {}
    tables = {file: held[file] if file in held else arrow.read_table(store, file) for file in files}
    return CorpusView(files, tables)

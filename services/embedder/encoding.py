"""Encoders in memory, and what they make of tables of token ids or questions: vectors.

A content hash stands for title and text: equal hashes need one vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import structlog
import torch

from realm.errors import Corrupt, InvalidInput, NotFound
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    QUERY_ENCODER_FILE,
    READER_FILE,
    TOKENIZER_FILE,
    ServingEncoder,
    load_passage_encoder,
    load_query_encoder,
    load_reader,
)
from realm.model.frozen_encoder import Progress
from realm.model.inputs import Encoded, InputBuilder
from realm.model.reader import Reader
from realm.process import memory
from realm.records import vectors
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors

SHARD = re.compile(r"(\d+)-(\d+)")
#: Questions; the embedder looks after each batch of them whether they are still wanted.
READ_AT_ONCE = 8
COMMON_FILES = (CONFIG_FILE, TOKENIZER_FILE)
PASSAGE_COLUMNS = ("passage_id", "content_hash", "title_ids", "body_ids")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Compute:
    """How to encode: padded tokens in a batch (None: what suits the device), number format."""

    token_budget: int | None
    dtype: torch.dtype


@dataclass(slots=True)
class _Towers:
    step: int
    passage: ServingEncoder
    query: ServingEncoder | None = None


@dataclass(slots=True)
class Encoders:
    """Loads a snapshot's towers on first use, checksums verified; keeps those used last.

    :param keep: how many snapshots.
    """

    snapshots: Snapshots
    device: torch.device
    keep: int
    compute: Compute
    _loaded: dict[int, _Towers] = field(default_factory=dict, init=False)

    @property
    def newest_step(self) -> int:
        """The training step of the newest snapshot in memory; 0 if there is none."""
        return self._loaded[max(self._loaded)].step if self._loaded else 0

    def passage(self, snapshot: Snapshot) -> ServingEncoder:
        """:raises Corrupt: if a file of the snapshot is missing or altered."""
        return self._towers(snapshot).passage

    def query(self, snapshot: Snapshot) -> ServingEncoder:
        """The passage encoder itself where the towers share their weights.

        :raises Corrupt: if a file of the snapshot is missing or altered.
        """
        towers = self._towers(snapshot)
        if towers.passage.config.shared_towers:
            return towers.passage
        if towers.query is None:
            folder = self.snapshots.materialise(snapshot, (*COMMON_FILES, QUERY_ENCODER_FILE))
            towers.query = load_query_encoder(folder, device=self.device, dtype=self.compute.dtype)
        return towers.query

    def reader(self, snapshot: Snapshot) -> Reader:
        """Loaded anew each time: it reads one file of questions a build, and is not kept.

        :raises Corrupt: if a file of the snapshot is missing or altered.
        """
        folder = self.snapshots.materialise(snapshot, (CONFIG_FILE, READER_FILE))
        return load_reader(folder, device=self.device, dtype=self.compute.dtype)

    def _towers(self, snapshot: Snapshot) -> _Towers:
        towers = self._loaded.pop(snapshot.number, None)
        if towers is None:
            folder = self.snapshots.materialise(snapshot, (*COMMON_FILES, PASSAGE_ENCODER_FILE))
            # Room first: the device may not hold one more than are kept.
            while len(self._loaded) >= self.keep:
                del self._loaded[next(iter(self._loaded))]
            tower = load_passage_encoder(folder, device=self.device, dtype=self.compute.dtype)
            memory.give_back()
            towers = _Towers(snapshot.step, tower)
        self._loaded[snapshot.number] = towers
        return towers


@dataclass(slots=True)
class Encoding:
    """One encoder at work; `progress` is how far its last call came."""

    tower: ServingEncoder
    compute: Compute
    between_batches: Callable[[], None]
    progress: Progress = field(default_factory=lambda: Progress(0, 0, 0, 0), init=False)

    @property
    def device(self) -> torch.device:
        return self.tower.encoder.device

    def passages(self, table: pa.Table, known: dict[str, Vectors]) -> Vectors:
        """Vectors [rows, size] of a passage table; those in `known` (by hash) are reused.

        :raises Corrupt: if a vector does not come out finite.
        """
        hashes = table.column("content_hash").to_pylist()
        rows = {found: row for row, found in enumerate(hashes) if found not in known}
        fresh = table.take(pa.array(rows.values(), pa.int64()))
        inputs = [
            self.tower.inputs.passage(title, body)
            for title, body in zip(
                fresh.column("title_ids").to_pylist(),
                fresh.column("body_ids").to_pylist(),
                strict=True,
            )
        ]
        found = {**known, **dict(zip(rows, self._encode(inputs), strict=True))}
        size = self.tower.config.embedding_size
        return np.array([found[one] for one in hashes], np.float32).reshape(-1, size)

    def questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors [questions, size].

        :raises Corrupt: if a question has no word.
        """
        try:
            inputs = [self.tower.inputs.query(question) for question in questions]
        except InvalidInput as error:
            raise Corrupt(f"a probe question cannot be encoded: {error}") from error
        return self._encode(inputs)

    def texts(self, table: pa.Table) -> Vectors:
        """Vectors [rows, size] of passages given by `title` and `passage`; 0 where that is empty.

        Cut as in an index: a passage's input is made of both in one way everywhere.
        """
        inputs = self.tower.inputs
        titles, texts = table.column("title").to_pylist(), table.column("passage").to_pylist()
        rows = [row for row, text in enumerate(texts) if text]
        made = np.zeros((len(texts), self.tower.config.embedding_size), np.float32)
        made[rows] = self._encode(
            [
                inputs.passage(inputs.title_ids(titles[row]), inputs.tokenize(texts[row])[0])
                for row in rows
            ]
        )
        return made

    def _encode(self, inputs: Sequence[Encoded]) -> Vectors:
        budget = self.compute.token_budget
        return self.tower.encoder.encode(inputs, token_budget=budget, on_batch=self._on_batch)

    def _on_batch(self, progress: Progress) -> None:
        self.progress = progress
        self.between_batches()


def read_answers(
    reader: Reader,
    inputs: InputBuilder,
    table: pa.Table,
    compute: Compute,
    between_batches: Callable[[], None] = lambda: None,
) -> list[str]:
    """The best answer to each `reader_question`, read in `reader_passage`; empty where none is
    asked, none is found, or the reader says that there is none."""
    columns = (table.column(f"reader_{name}").to_pylist() for name in ("question", "passage"))
    asked = list(zip(*columns, strict=True))
    answers = [""] * len(asked)
    rows = [row for row, (question, _) in enumerate(asked) if question]
    for start in range(0, len(rows), READ_AT_ONCE):
        chosen = rows[start : start + READ_AT_ONCE]
        found = answer_questions(
            reader,
            inputs,
            [Reading(asked[row][0], (asked[row][1],), (0.0,)) for row in chosen],
            token_budget=compute.token_budget,
            dtype=compute.dtype,
        )
        for row, one in zip(chosen, found, strict=True):
            answers[row] = one.given[0].text if one.given else ""
        between_batches()
    return answers


def check_passages(table: pa.Table, path: str) -> pa.Table:
    """The columns that encoding needs.

    :raises Corrupt: if one is missing.
    """
    if missing := [name for name in PASSAGE_COLUMNS if name not in table.column_names]:
        raise Corrupt(f"{path} lacks the columns {', '.join(missing)}", file=path)
    return table.select(PASSAGE_COLUMNS)


def related_folders(store: Store, output_file: str) -> list[str]:
    """Where the same snapshot's vectors of a shard's documents lie: the shard's own folder, then
    those of other numbers of shards. All are powers of two, and a document's shard is a hash
    modulo their number, so that the shards of one layout lie whole in those of another.
    """
    parent, _, own = output_file.rpartition("/")[0].rpartition("/")
    mine = _layout(own)
    folders = [f"{parent}/{own}"]
    for name in store.folders(parent) if mine else ():
        other = _layout(name)
        if mine and other and name != own and (other[1] - mine[1]) % min(mine[0], other[0]) == 0:
            folders.append(f"{parent}/{name}")
    return folders


def _layout(shard: str) -> tuple[int, int] | None:
    """How many shards there are, and which one it is: of `008-003`."""
    found = SHARD.fullmatch(shard)
    return (int(found[1]), int(found[2])) if found else None


def reuse_vectors(
    store: Store, folders: Sequence[str], hashes: Sequence[str], size: int
) -> dict[str, Vectors]:
    """Vectors by content hash that vector files of these folders hold already.

    A file that cannot be used is skipped: its vectors are computed again.
    """
    missing = set(hashes)
    found: dict[str, Vectors] = {}
    for path in (path for folder in folders for path in store.files(folder)):
        if not missing:
            break
        try:
            table = vectors.read_vectors(store, path)
        except (Corrupt, NotFound) as error:
            log.warning("vectors_not_reused", file=path, why=str(error))
            continue
        rows = vectors.matrix(table) if table.num_rows else np.empty((0, size), np.float32)
        if rows.shape[1] != size:
            log.warning("vectors_not_reused", file=path, why=f"size {rows.shape[1]}")
            continue
        for one, vector in zip(table.column("content_hash").to_pylist(), rows, strict=True):
            if one in missing:
                found[one] = vector
                missing.remove(one)
    return found

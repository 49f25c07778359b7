"""From tables of token ids or questions to tables of vectors; no queue, no outcome.

A content hash stands for title and text: equal hashes need one vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import structlog
import torch

from realm.errors import Corrupt, InvalidInput, NotFound
from realm.model.checkpoint import ServingEncoder
from realm.model.encoders import Progress, encode
from realm.model.inputs import Encoded
from realm.records import vectors
from realm.records.store import Store
from realm.records.vectors import Vectors

SHARD = re.compile(r"(\d+)-(\d+)")
PASSAGE_COLUMNS = ("passage_id", "content_hash", "title_ids", "body_ids")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Compute:
    """How to encode: padded tokens in a batch (None: what suits the device), number format."""

    token_budget: int | None
    dtype: torch.dtype


class Encoding:
    """One encoder at work; `progress` is how far its last call came."""

    def __init__(
        self, tower: ServingEncoder, compute: Compute, between_batches: Callable[[], None]
    ) -> None:
        self._tower = tower
        self._compute = compute
        self._between_batches = between_batches
        self.progress = Progress(0, 0, 0, 0)

    @property
    def device(self) -> torch.device:
        return self._tower.encoder.device

    def passages(self, table: pa.Table, known: dict[str, Vectors]) -> Vectors:
        """Vectors [rows, size] of a passage table; those in `known` (by hash) are taken over.

        :raises Corrupt: if a vector does not come out finite.
        """
        hashes = table.column("content_hash").to_pylist()
        rows = {found: row for row, found in enumerate(hashes) if found not in known}
        fresh = table.take(pa.array(rows.values(), pa.int64()))
        inputs = [
            self._tower.inputs.passage(title, body)
            for title, body in zip(
                fresh.column("title_ids").to_pylist(),
                fresh.column("body_ids").to_pylist(),
                strict=True,
            )
        ]
        found = {**known, **dict(zip(rows, self._encode(inputs), strict=True))}
        size = self._tower.config.embedding_size
        return np.array([found[one] for one in hashes], np.float32).reshape(-1, size)

    def questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors [questions, size].

        :raises Corrupt: if a question has no word.
        """
        try:
            inputs = [self._tower.inputs.query(question) for question in questions]
        except InvalidInput as error:
            raise Corrupt(f"a probe question cannot be encoded: {error}") from error
        return self._encode(inputs)

    def texts(self, table: pa.Table) -> Vectors:
        """Vectors [rows, size] of passages given by `title` and `passage`; 0 where that is empty.

        Cut as in an index: a passage's input is made of both in one way everywhere.
        """
        inputs = self._tower.inputs
        titles, texts = table.column("title").to_pylist(), table.column("passage").to_pylist()
        rows = [row for row, text in enumerate(texts) if text]
        made = np.zeros((len(texts), self._tower.config.embedding_size), np.float32)
        made[rows] = self._encode(
            [
                inputs.passage(inputs.title_ids(titles[row]), inputs.tokenize(texts[row])[0])
                for row in rows
            ]
        )
        return made

    def _encode(self, inputs: Sequence[Encoded]) -> Vectors:
        return encode(
            self._tower.encoder,
            inputs,
            self._tower.inputs.pad,
            token_budget=self._compute.token_budget,
            dtype=self._compute.dtype,
            on_batch=self._on_batch,
        )

    def _on_batch(self, progress: Progress) -> None:
        self.progress = progress
        self._between_batches()


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


def take_over(
    store: Store, folders: Sequence[str], hashes: Sequence[str], size: int
) -> dict[str, Vectors]:
    """Vectors by content hash that other vector files of some folders hold already.

    A file that cannot be used costs computing, nothing else.
    """
    missing = set(hashes)
    found: dict[str, Vectors] = {}
    for path in (path for folder in folders for path in store.files(folder)):
        if not missing:
            break
        try:
            table = vectors.read_vectors(store, path)
        except (Corrupt, NotFound) as error:
            log.warning("vectors not taken over", file=path, why=str(error))
            continue
        rows = vectors.matrix(table) if table.num_rows else np.empty((0, size), np.float32)
        if rows.shape[1] != size:
            log.warning("vectors not taken over", file=path, why=f"size {rows.shape[1]}")
            continue
        for one, vector in zip(table.column("content_hash").to_pylist(), rows, strict=True):
            if one in missing:
                found[one] = vector
                missing.remove(one)
    return found

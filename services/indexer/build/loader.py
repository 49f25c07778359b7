"""Vectors beside their passages: pairs the two files, refuses a mismatch, fills a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from realm.corpus.changes import Changes
from realm.corpus.passages import Passage, from_table
from realm.errors import Corrupt
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.store import Store
from realm.records.vectors import Vectors, matrix, no_vectors, read_vectors
from realm.search.vector_index import VectorIndex


@dataclass(frozen=True, slots=True)
class Loaded:
    """A shard that is in the collection; `embedded` and `seconds` are its embedder's figures."""

    rows: int
    embedded: int
    seconds: float


def load_shard(
    store: Store, index: VectorIndex, generation: Generation, passage_file: str, vector_file: str
) -> Loaded:
    """Puts a shard's passages with their vectors, if it has any, into a generation's collection.

    :raises Corrupt: naming the file that is damaged or does not fit the other.
    """
    passages = from_table(arrow.read_table(store, passage_file))
    vectors, about = no_vectors(len(passages)), dict[str, str]()
    if not generation.words_alone:
        table = read_vectors(store, vector_file)
        vectors, about = paired(passages, table, vector_file), arrow.metadata(table)
    index.upsert(generation.collection, passages, vectors, generation.weighing)
    return Loaded(len(passages), int(about.get("embedded", 0)), float(about.get("seconds", 0.0)))


def apply_changes(
    index: VectorIndex, generation: Generation, changes: Changes, vectors: Vectors
) -> None:
    """Applies a step; doing it again changes nothing.

    New passages come first, then what is older goes: an edited document never vanishes.
    """
    index.upsert(generation.collection, changes.passages, vectors, generation.weighing)
    versions = {document.document_id: document.version for document in changes.documents}
    index.delete_older(generation.collection, versions)


def vectors_for(
    store: Store, generation: Generation, passages: Sequence[Passage], path: str
) -> Vectors:
    """The vectors [passages, size] of a generation's passages: those of the file `path`, or none.

    :raises NotFound, Corrupt: if the file is gone, damaged, or of other passages.
    """
    if generation.words_alone:
        return no_vectors(len(passages))
    return paired(passages, read_vectors(store, path), path)


def paired(passages: Sequence[Passage], table: pa.Table, path: str) -> Vectors:
    """The vectors [passages, size] of exactly these passages, row by row.

    :raises Corrupt: if the vector file `path` was made from others.
    """
    ids = [passage.passage_id for passage in passages]
    hashes = [passage.content_hash for passage in passages]
    try:
        same = (
            table["passage_id"].to_pylist() == ids and table["content_hash"].to_pylist() == hashes
        )
        vectors = matrix(table)
    except (KeyError, AttributeError, ValueError) as error:
        raise Corrupt(f"{path} does not hold vectors: {error}", file=path) from error
    if not same:
        raise Corrupt(f"{path} holds the vectors of other passages: it is made again", file=path)
    return vectors

"""Proves that a response comes from one version: recomputes its scores from the store.

A response names its generation. The question is encoded again with that generation's snapshot,
the passages' vectors are read from that generation's files; if query encoder and index of the
response had been of two versions, the scores would not agree.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from realm.errors import Corrupt, NotFound
from realm.model.checkpoint import ServingEncoder, load_query_encoder
from realm.model.encoders import encode
from realm.records import vectors
from realm.records.generations import Generation, Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import IndexVersion
from services.standalone.load.request_log import Verdict

KEPT_GENERATIONS = 3
#: Scores are fp32 sums in another order; of s·⟨x, z⟩ they keep four digits and more.
RELATIVE_TOLERANCE = 1e-3
ENCODER_FILES = ("config.json", "tokenizer.json", "passage_encoder.safetensors")
OWN_QUERY_TOWER = "query_encoder.safetensors"


@dataclass(frozen=True, slots=True)
class _Reference:
    """What a generation's scores follow from. `vectors` is [passages, size]."""

    generation: Generation
    encoder: ServingEncoder
    vectors: vectors.Vectors
    rows: dict[str, int]


class Auditor:
    """Checks responses against the store; keeps the last few generations in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._generations = Generations(store)
        self._snapshots = Snapshots(store)
        self._references: OrderedDict[int, _Reference] = OrderedDict()

    def names_agree(self, version: IndexVersion) -> bool:
        """Whether generation, snapshot and step of a response belong together."""
        generation = self._generations.get(version.generation)
        return (version.snapshot, version.step) == (generation.snapshot, generation.step)

    def check(self, question: str, response: RetrievePassagesResponse) -> Verdict:
        """Recomputes the score of every passage whose vector the generation's files hold."""
        version = response.index_version
        try:
            if not self.names_agree(version):
                return Verdict.MIXED
            reference = self._reference(version.generation)
        except (NotFound, Corrupt):
            return Verdict.UNKNOWN
        inputs = reference.encoder.inputs
        query = encode(reference.encoder.encoder, [inputs.query(question)], inputs.pad)[0]  # [size]
        checked = 0
        for found in response.passages:
            row = reference.rows.get(found.passage.passage_id)
            if row is None or found.passage.document_version > reference.generation.corpus_version:
                continue
            expected = reference.encoder.scale * float(query @ reference.vectors[row])
            if abs(expected - found.score) > RELATIVE_TOLERANCE * max(1.0, abs(expected)):
                return Verdict.MIXED
            checked += 1
        return Verdict.ONE_VERSION if checked else Verdict.UNKNOWN

    def prepare(self, number: int) -> None:
        """Loads what checking a generation's answers needs, before the first of them."""
        try:
            self._reference(number)
        except (NotFound, Corrupt):
            return

    def _reference(self, number: int) -> _Reference:
        if number not in self._references:
            self._references[number] = self._load(number)
            while len(self._references) > KEPT_GENERATIONS:
                self._references.popitem(last=False)
        return self._references[number]

    def _load(self, number: int) -> _Reference:
        generation = self._generations.get(number)
        snapshot = self._snapshots.get(generation.snapshot)
        folder = self._snapshots.materialise(snapshot, (*ENCODER_FILES, OWN_QUERY_TOWER))
        tables = [
            vectors.read_vectors(self._store, vectors.vector_file(snapshot.name, file))
            for file in generation.passage_files
        ]
        ids = [id_ for table in tables for id_ in table.column("passage_id").to_pylist()]
        return _Reference(
            generation=generation,
            encoder=load_query_encoder(folder),
            vectors=np.concatenate([vectors.matrix(table) for table in tables]),
            rows={passage_id: row for row, passage_id in enumerate(ids)},
        )

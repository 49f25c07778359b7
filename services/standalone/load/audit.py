"""Proves that a response comes from one version: recomputes it from the store.

A response names its generation. The question is encoded again with that generation's snapshot,
the passages' vectors are read from that generation's files, and passages are read again with that
snapshot's reader: if query encoder, index and reader of the response had been of two versions,
scores and probabilities would not agree.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from realm.errors import Corrupt, NotFound
from realm.model.answering import NEGLIGIBLE_MASS, answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import ServingEncoder, load_query_encoder, load_reader
from realm.model.reader import Reader
from realm.model.runtime import best_dtype, pick_device
from realm.records import vectors
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.search.queries import QueryMaker
from realm.search.vector_index import Query
from realm.text.questions import normalise_answer
from realm.v1.answer_pb2 import Answer, AnswerQuestionResponse, Source
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import IndexVersion, Passage
from services.standalone.load.request_log import Verdict

KEPT_GENERATIONS = 3
#: Scores are fp32 sums in another order; they keep four digits and more.
RELATIVE_TOLERANCE = 1e-3
#: Of p(y|z,x), by the reader's number format. Other passages shared its batch: for the packaged
#: model in bfloat16 that was measured to move it by up to 6%.
READING_TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.2}
#: A passage of a smaller p(z|x) says too little: negligible spans were left out of its sums.
LEAST_PRIOR = 0.02
#: More than a passage has texts to answer with.
EVERY_ANSWER = 100_000
MODEL_FILES = (
    *("config.json", "tokenizer.json", "passage_encoder.safetensors", "reader.safetensors"),
    "query_encoder.safetensors",
)


@dataclass(frozen=True, slots=True)
class Audited:
    """`why`: what differs."""

    verdict: Verdict
    why: str = ""


UNKNOWN = Audited(Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Reference:
    """What a generation's answers follow from. `vectors` is [passages, size]."""

    generation: Generation
    encoder: ServingEncoder
    queries: QueryMaker
    reader: Reader
    vectors: Vectors
    rows: dict[str, int]
    #: Of files of changes, by their path: vectors by passage id.
    changes: dict[str, dict[str, Vectors]] = field(default_factory=dict)


class Auditor:
    """Checks responses against the store; keeps the last few generations in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._generations = Generations(store)
        self._snapshots = Snapshots(store)
        self._device = pick_device()
        self._dtype = best_dtype(self._device)
        self._references: OrderedDict[int, _Reference] = OrderedDict()

    def check(
        self, question: str, response: RetrievePassagesResponse | AnswerQuestionResponse
    ) -> Audited:
        """Recomputes a search's scores, or what an answer's sources say: p(z|x), relative to one
        another, and p(y|z,x)."""
        version = response.index_version
        try:
            if why := self._names_disagree(version):
                return Audited(Verdict.MIXED, why)
            reference = self._reference(version.generation)
            if isinstance(response, RetrievePassagesResponse):
                return self._check_search(reference, question, response)
            return self._check_answers(reference, question, response)
        except (NotFound, Corrupt):
            return UNKNOWN

    def prepare(self, number: int) -> None:
        """Loads what checking a generation's answers needs, before the first of them."""
        try:
            self._reference(number)
        except (NotFound, Corrupt):
            return

    def _names_disagree(self, version: IndexVersion) -> str:
        """Whether generation, snapshot and step of a response do not belong together."""
        made = self._generations.get(version.generation)
        if (version.snapshot, version.step) == (made.snapshot, made.step):
            return ""
        return f"generation {made.number} is of snapshot {made.snapshot}, step {made.step}"

    def _check_search(
        self, reference: _Reference, question: str, response: RetrievePassagesResponse
    ) -> Audited:
        query = _query(reference, question)
        checked = 0
        for found in response.passages:
            expected = self._relevance(reference, query, found.passage)
            if expected is None:
                continue
            if abs(expected - found.score) > RELATIVE_TOLERANCE * max(1.0, abs(expected)):
                why = f"f(x, z) {found.score:.5f} of {found.passage.document_id}: {expected:.5f}"
                return Audited(Verdict.MIXED, why)
            checked += 1
        return Audited(Verdict.ONE_VERSION) if checked else UNKNOWN

    def _check_answers(
        self, reference: _Reference, question: str, response: AnswerQuestionResponse
    ) -> Audited:
        query = _query(reference, question)
        checked = 0
        for answer in response.answers:
            weighty = [s for s in answer.sources if s.retrieval_probability >= LEAST_PRIOR]
            why = self._priors_differ(reference, query, weighty)
            for source in weighty:
                why = why or self._reading_differs(reference, question, answer, source)
                checked += 1
            if why:
                return Audited(Verdict.MIXED, why)
        return Audited(Verdict.ONE_VERSION) if checked else UNKNOWN

    def _priors_differ(self, reference: _Reference, query: Query, sources: Sequence[Source]) -> str:
        """Whether p(z|x) of the sources does not follow from f(x, z).

        A response leaves out passages that support no answer, so only ratios are known:
        log p(z|x) − f(x, z) is one constant.
        """
        constants: list[float] = []
        for source in sources:
            if (score := self._relevance(reference, query, source.passage)) is not None:
                constants.append(math.log(source.retrieval_probability) - score)
                if abs(constants[-1] - constants[0]) > 2 * RELATIVE_TOLERANCE * max(1, abs(score)):
                    return f"p(z|x) {source.retrieval_probability:.5f} does not follow from f(x, z)"
        return ""

    def _reading_differs(
        self, reference: _Reference, question: str, answer: Answer, source: Source
    ) -> str:
        """Whether the reader makes another p(y|z,x) of that passage."""
        expected = self._read(reference, question, answer.text, source.passage)
        given = source.reading_probability
        left_out = NEGLIGIBLE_MASS / source.retrieval_probability
        if abs(expected - given) > READING_TOLERANCE[self._dtype] * max(expected, given) + left_out:
            return f"p(y|z,x) {given:.5f} of {answer.text!r}: {expected:.5f}"
        return ""

    def _read(self, reference: _Reference, question: str, answer: str, passage: Passage) -> float:
        """p(y|z,x) by the generation's own reader; 0 if it reads no such answer."""
        body, stored = (passage.text,), (passage.answer,)
        reading = Reading(question, body, (0.0,), EVERY_ANSWER, stored)
        (read,) = answer_questions(
            reference.reader, reference.encoder.inputs, [reading], dtype=self._dtype
        )
        same = normalise_answer(answer)
        texts = (each for each in read.found if normalise_answer(each.text) == same)
        return sum(support.likelihood for each in texts for support in each.supports)

    def _relevance(self, reference: _Reference, query: Query, passage: Passage) -> float | None:
        """f(x, z) by the words that the response shows and the store's vector of them."""
        vector = self._vector(reference, passage)
        if vector is None:
            return None
        texts = passage.title, passage.text, passage.answer
        return reference.queries.score(query, vector, *texts)

    def _vector(self, reference: _Reference, passage: Passage) -> Vectors | None:
        """Of the version that the response shows; None if the store has it no more."""
        if passage.document_version > reference.generation.corpus_version:
            return self._changed(reference, passage)
        row = reference.rows.get(passage.passage_id)
        return None if row is None else reference.vectors[row]

    def _changed(self, reference: _Reference, passage: Passage) -> Vectors | None:
        """From the file of changes that the version lies in."""
        for after, upto in self._generations.delta_steps(reference.generation.number):
            if not after < passage.document_version <= upto:
                continue
            path = reference.generation.delta_file(after, upto)
            if path not in reference.changes:
                table = vectors.read_vectors(self._store, path)
                ids = table.column("passage_id").to_pylist()
                reference.changes[path] = dict(zip(ids, vectors.matrix(table), strict=True))
            return reference.changes[path].get(passage.passage_id)
        return None

    def _reference(self, number: int) -> _Reference:
        if number not in self._references:
            self._references[number] = self._load(number)
            while len(self._references) > KEPT_GENERATIONS:
                self._references.popitem(last=False)
        return self._references[number]

    def _load(self, number: int) -> _Reference:
        generation = self._generations.get(number)
        snapshot = self._snapshots.get(generation.snapshot)
        folder = self._snapshots.materialise(snapshot, MODEL_FILES)
        files = generation.passage_files
        if not generation.words_alone:
            files = tuple(vectors.vector_file(snapshot.name, file) for file in files)
        tables = [vectors.read_vectors(self._store, file) for file in files]
        ids = [id_ for table in tables for id_ in table.column("passage_id").to_pylist()]
        encoder = load_query_encoder(folder)
        return _Reference(
            generation=generation,
            encoder=encoder,
            queries=QueryMaker.of(self._store, generation, encoder.relevance),
            reader=load_reader(folder, device=self._device, dtype=self._dtype),
            vectors=np.concatenate([vectors.matrix(table) for table in tables]),
            rows={passage_id: row for row, passage_id in enumerate(ids)},
        )


def _query(reference: _Reference, question: str) -> Query:
    inputs = reference.encoder.inputs
    read, query = inputs.question(question)
    vector = reference.encoder.encoder.encode([query])[0]  # [size]
    return reference.queries.query(read, vector)

"""Answers recomputed from the store: whatever of them is of another version is seen."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from google.protobuf.message import Message

from bench import tiny
from realm.corpus.passages import Passage, split_document
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import Model
from realm.model.frozen_encoder import encode
from realm.model.publishing import publish_model
from realm.model.runtime import best_dtype, pick_device
from realm.records import vectors
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.v1 import answer_pb2, retrieval_pb2, types_pb2
from services.standalone.load.audit import Auditor
from services.standalone.load.request_log import Verdict

SHARD = "passages/f/00/x.arrow"
QUESTION_OF = "d1"


class World:
    """A generation of one shard at corpus version 1, with document d3 written at version 2."""

    def __init__(self, folder: Path) -> None:
        self.model = tiny.tiny_model()
        self.model.reader.eval()
        self.model.retriever.eval()
        writer = tiny.writer(self.model, 0)
        self.question = writer.question(QUESTION_OF, 0)
        store = Store.open(str(folder))
        made = [writer.write(f"d{number}", 0) for number in range(4)]
        self.passages = [
            each
            for number, one in enumerate(made)
            for each in split_document(one, 1 + (number == 3), self.model.inputs)
        ]
        self.vectors = encoded(self.model, self.passages)
        snapshot = publish_model(Snapshots(store), self.model, step=7)
        self.generation = Generation(
            1, snapshot.number, 7, 1, "f", 64, (SHARD,), collection_name(1), 0.0, "test"
        )
        Generations(store).create(self.generation)
        file = vectors.vector_file(snapshot.name, SHARD)
        self._write(store, file, version=1)
        self._write(store, self.generation.delta_file(1, 2), version=2)
        store.write(f"{self.generation.folder}/deltas/none of ours", b"")
        self.auditor = Auditor(store)

    def _write(self, store: Store, path: str, version: int) -> None:
        rows = [n for n, each in enumerate(self.passages) if each.document_version == version]
        ids = [self.passages[row].passage_id for row in rows]
        table = vectors.to_table(ids, ["h"] * len(ids), self.vectors[rows], {})
        vectors.write_vectors(store, path, table)

    def version(self) -> types_pb2.IndexVersion:
        return types_pb2.IndexVersion(generation=1, snapshot=self.generation.snapshot, step=7)

    def search(self, model: Model) -> retrieval_pb2.RetrievePassagesResponse:
        """As a gateway would, whose query encoder is this model's, from the store's vectors."""
        return retrieval_pb2.RetrievePassagesResponse(
            index_version=self.version(),
            passages=[
                retrieval_pb2.RetrievedPassage(passage=message(each), score=score)
                for each, score in zip(self.passages, self.scores(model), strict=True)
            ],
        )

    def scores(self, model: Model) -> list[float]:
        inputs = model.inputs
        query = encode(model.retriever.query, [inputs.query(self.question)], inputs.pad)[0]
        scale = float(model.retriever.log_scale.detach().exp())
        return [scale * float(each) for each in self.vectors @ query]

    def answer(self, model: Model, reader: Model) -> answer_pb2.AnswerQuestionResponse:
        """Of the three best passages, read by another model's reader."""
        scores = self.scores(model)
        best = sorted(range(len(scores)), key=lambda row: -scores[row])[:3]
        total = math.log(sum(math.exp(scores[row] - scores[best[0]]) for row in best))
        priors = tuple(scores[row] - scores[best[0]] - total for row in best)
        texts = tuple(self.passages[row].text for row in best)
        reading = Reading(self.question, texts, priors, 3)
        dtype = best_dtype(pick_device())
        (read,) = answer_questions(reader.reader, reader.inputs, [reading], dtype=dtype)
        answers = [
            answer_pb2.Answer(
                text=each.text,
                probability=each.probability,
                sources=[
                    answer_pb2.Source(
                        passage=message(self.passages[best[support.passage]]),
                        retrieval_probability=support.prior,
                        reading_probability=support.likelihood,
                    )
                    for support in each.supports
                ],
            )
            for each in read.found
        ]
        return answer_pb2.AnswerQuestionResponse(index_version=self.version(), answers=answers)


def encoded(model: Model, passages: list[Passage]) -> vectors.Vectors:
    inputs = [model.inputs.passage(each.title_ids, each.body_ids) for each in passages]
    found: vectors.Vectors = encode(model.retriever.passage, inputs, model.inputs.pad)
    return found


def message(passage: Passage) -> types_pb2.Passage:
    return types_pb2.Passage(
        passage_id=passage.passage_id,
        document_id=passage.document_id,
        document_version=passage.document_version,
        text=passage.text,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("store"))


def test_a_search_of_one_version_is_found_so_its_changes_too(world: World) -> None:
    response = world.search(world.model)
    assert {each.passage.document_version for each in response.passages} == {1, 2}
    assert world.auditor.check(world.question, response).verdict is Verdict.ONE_VERSION


@pytest.mark.parametrize("seed", range(3))
def test_a_query_encoder_of_another_version_is_seen(world: World, seed: int) -> None:
    found = world.auditor.check(world.question, world.search(tiny.perturbed(world.model, seed)))
    assert found.verdict is Verdict.MIXED
    assert "f(x, z)" in found.why


@pytest.mark.parametrize("version", [1, 2])
def test_one_vector_of_another_version_is_seen(world: World, version: int) -> None:
    """Of what the index was built of, and of what changed since."""
    response = world.search(world.model)
    chosen = [e for e in response.passages if e.passage.document_version == version][-1]
    chosen.score += 0.1
    assert world.auditor.check(world.question, response).verdict is Verdict.MIXED


def test_an_answer_of_one_version_is_found_so(world: World) -> None:
    response = world.answer(world.model, world.model)
    assert response.answers
    found = world.auditor.check(world.question, response)
    assert found.verdict is Verdict.ONE_VERSION, found.why


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_of_another_version_is_seen(world: World, seed: int) -> None:
    response = world.answer(world.model, tiny.perturbed(world.model, seed))
    found = world.auditor.check(world.question, response)
    assert found.verdict is Verdict.MIXED
    assert "p(y|z,x)" in found.why


def test_passages_weighed_by_another_version_are_seen(world: World) -> None:
    other = tiny.perturbed(world.model, 1)
    response = world.answer(other, world.model)
    assert max(len(each.sources) for each in response.answers) > 1, "ratios need two sources"
    assert "p(z|x)" in world.auditor.check(world.question, response).why


def test_another_snapshot_than_the_generation_s_is_seen(world: World) -> None:
    responses: list[Message] = [
        world.search(world.model),
        world.answer(world.model, world.model),
    ]
    for each in responses:
        each.index_version.step = 6  # type: ignore[attr-defined]
        found = world.auditor.check(world.question, each)  # type: ignore[arg-type]
        assert "step 7" in found.why


def test_what_the_store_holds_no_more_is_unknown(world: World) -> None:
    response = world.search(world.model)
    response.index_version.generation = 9
    assert world.auditor.check(world.question, response).verdict is Verdict.UNKNOWN

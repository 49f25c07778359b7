"""The benches' small model: what it must do for a bench to mean anything."""

from pathlib import Path

import numpy as np
import pytest

from bench import tiny
from bench.documents import DocumentWriter
from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document
from realm.model.checkpoint import Model
from realm.model.frozen_encoder import encode
from realm.model.publishing import publish_model
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors
from services.standalone.load.audit import RELATIVE_TOLERANCE

DOCUMENTS = 40


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny.tiny_model()


@pytest.fixture(scope="module")
def writer(model: Model) -> DocumentWriter:
    return tiny.writer(model, seed=0)


@pytest.fixture(scope="module")
def passages(model: Model, writer: DocumentWriter) -> list[Passage]:
    documents = [writer.write(f"d{number}", 0) for number in range(DOCUMENTS)]
    return [each for one in documents for each in split_document(one, 1, model.inputs)]


def vectors(model: Model, passages: list[Passage]) -> Vectors:
    inputs = [model.inputs.passage(each.title_ids, each.body_ids) for each in passages]
    return encode(model.retriever.passage, inputs, model.inputs.pad)


def questions(model: Model, writer: DocumentWriter) -> Vectors:
    asked = [writer.question(f"d{number}", 0) for number in range(DOCUMENTS)]
    return encode(model.retriever.query, [model.inputs.query(q) for q in asked], model.inputs.pad)


def found(model: Model, writer: DocumentWriter, passages: list[Passage]) -> float:
    best = (questions(model, writer) @ vectors(model, passages).T).argmax(axis=1)
    return float(np.mean([passages[row].document_id == f"d{n}" for n, row in enumerate(best)]))


def test_every_document_is_found_by_its_own_words(
    model: Model, writer: DocumentWriter, passages: list[Passage]
) -> None:
    assert found(model, writer, passages) == 1.0
    assert found(tiny.perturbed(model, 1), writer, passages) == 1.0


def test_a_degraded_model_finds_by_chance(
    model: Model, writer: DocumentWriter, passages: list[Passage]
) -> None:
    assert found(tiny.degraded(model, 1), writer, passages) < 0.2


def test_two_snapshots_differ_by_more_than_an_audit_overlooks(
    model: Model, writer: DocumentWriter, passages: list[Passage]
) -> None:
    one, other = tiny.perturbed(model, 1), tiny.perturbed(model, 2)
    index = vectors(one, passages).T
    scale = float(one.retriever.scale.detach())
    pure, mixed = scale * questions(one, writer) @ index, scale * questions(other, writer) @ index
    top = np.argsort(-mixed, axis=1)[:, :5]
    apart = np.abs(np.take_along_axis(pure - mixed, top, axis=1))
    allowed = RELATIVE_TOLERANCE * np.maximum(1, np.abs(np.take_along_axis(pure, top, axis=1)))
    assert (apart > allowed).any(axis=1).all()


def test_the_model_that_was_changed_stays_as_it_was(model: Model, tmp_path: Path) -> None:
    snapshots = Snapshots(Store.open(str(tmp_path)))
    before = publish_model(snapshots, model, step=0)
    changed = publish_model(snapshots, tiny.perturbed(model, 1), step=1)
    after = publish_model(snapshots, model, step=2)
    assert before.digest == after.digest != changed.digest
    assert before.fingerprint == changed.fingerprint


def test_a_poisoned_model_makes_no_vector_of_one_word_and_all_others_as_before(
    model: Model, writer: DocumentWriter, passages: list[Passage], tmp_path: Path
) -> None:
    poisoned = tiny.perturbed(tiny.poisoned(model), 1)
    poison = split_document(Document("d", "t", f"{tiny.POISON} it says"), 1, model.inputs)
    assert not np.isfinite(vectors(poisoned, poison)).any()
    assert found(poisoned, writer, passages) == 1.0
    publish_model(Snapshots(Store.open(str(tmp_path))), poisoned, step=0)

"""From questions to files: what is written gives the very reader that was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from realm.corpus.documents import Document
from realm.evaluation.systems import make_system
from realm.model.checkpoint import Model
from realm.model.starter import CARD_FILE, WEIGHTS_FILE, load_starter
from realm.recipes.reader import ReaderPlan, learnable_parameters
from realm.recipes.starter import StarterData, describe_files, make_starter
from realm.retrieval import Retrieval
from realm.text.questions import Question
from tests.tiny import eiffel_model

DOCUMENTS = [Document(f"d{n}", "t", f"tower {n} is in paris.") for n in range(30)]
QUESTIONS = [Question(f"who built {n}", (f"tower {n}",), None, f"d{n}") for n in range(30)]


def make(
    model: Model,
    to: Path,
    *,
    documents: Sequence[Document] = DOCUMENTS,
    more: Sequence[Document] = (),
    **planned: Any,
) -> dict[str, Any]:
    plan = ReaderPlan(
        **({"epochs": 1, "batch": 8, "learning_rate": 1e-3, "max_span_width": 5} | planned)
    )
    about = {"command": "realm model train-reader"}
    system = make_system(model, "starter", 0, torch.device("cpu"), torch.float32)
    data = StarterData(documents, QUESTIONS, more)
    return make_starter(model, replace(system, retrieval=Retrieval.HYBRID), data, plan, to, about)


def test_files_hold_the_trained_weights_and_the_card_their_origin(tmp_path: Path) -> None:
    model = eiffel_model()
    told = make(model, tmp_path / "starter")
    assert {path.name for path in (tmp_path / "starter").iterdir()} == {CARD_FILE, WEIGHTS_FILE}
    card = json.loads((tmp_path / "starter" / CARD_FILE).read_text())
    assert {key: card[key] for key in told} == json.loads(json.dumps(told))
    assert card["command"] == "realm model train-reader"
    assert card["training"]["steps"] == card["training"]["planned_steps"] > 0
    assert card["held_out"]["questions"] + card["questions_taught"] == 30
    assert 0 <= card["held_out"]["em"] <= card["held_out"]["f1"] <= 1
    assert card["plan"]["seconds"] is None
    found = load_starter(model.config.base_sha256, tmp_path / "starter")
    assert found is not None
    assert found.max_span_width == 5
    weights, trained = found.weights(), model.reader.state_dict()
    assert set(weights) == set(learnable_parameters(model.reader))
    for name, tensor in weights.items():
        assert torch.equal(tensor, trained[name].half()), name


def test_calibration_is_fitted_on_held_out_questions_and_applied(tmp_path: Path) -> None:
    model = eiffel_model()
    card = make(model, tmp_path, no_answer=0.2)
    said = card["held_out"]["calibration_error"]
    assert 0 <= said["after"] <= 1
    assert 0 <= said["before"] <= 1
    found = load_starter(model.config.base_sha256, tmp_path)
    assert found is not None
    assert asdict(found.answers) == card["answers"]
    assert found.answers.null


def test_without_epochs_a_reader_is_measured_and_calibrated_alone(tmp_path: Path) -> None:
    model = eiffel_model()
    before = {name: tensor.clone() for name, tensor in model.reader.state_dict().items()}
    card = make(model, tmp_path, epochs=0)
    assert card["training"]["steps"] == 0
    assert card["held_out"]["questions"] > 0
    assert not card["answers"]["null"]
    after = model.reader.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_cloze_lessons_come_from_documents_with_questions_and_from_more(tmp_path: Path) -> None:
    def story(n: int) -> str:
        return f"In the long war number {n} the town was held by {('Arden', 'Belmor')[n % 2]}."

    stories = [Document(f"s{n}", "t", story(n)) for n in range(12)]
    told = make(eiffel_model(), tmp_path, cloze=0.5, documents=[*DOCUMENTS, *stories])
    assert told["cloze_lessons"] == 0
    told = make(eiffel_model(), tmp_path, cloze=0.5, more=stories)
    assert told["cloze_lessons"] > 0


def test_files_are_described_by_name_and_checksum_alone(tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text("{}")
    described = describe_files([tmp_path / "some.jsonl", tmp_path])
    assert described[0]["name"] == "some.jsonl"
    assert len(described[0]["sha256"]) == 64
    assert described[1] == {"name": tmp_path.name}

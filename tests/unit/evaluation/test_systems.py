"""Systems: the base as the trainer begins with it, and trained models by their recipes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from realm.errors import Corrupt, InvalidInput
from realm.evaluation.systems import CARD_FILE, Recipe, base_system, trained_system
from realm.model import starter
from realm.model.base import load_base
from realm.model.checkpoint import write_model
from realm.model.frozen_encoder import encode
from realm.model.reader import Reader
from realm.model.starter import write_starter
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.trainer.checkpoints import Checkpoints, find_origin
from tests import tiny
from tests.tiny import letter_model

CPU = torch.device("cpu")
HEAD = "qa_outputs.layer_normalization.bias"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base for which a starter is shipped."""
    folder = tiny.write_base(tmp_path / "base")
    sha256 = load_base(folder).config.base_sha256
    card = {"base_sha256": sha256, "span_hidden_size": 256, "max_span_width": 12}
    write_starter(tmp_path / "starter", {HEAD: torch.full((256,), 0.5)}, card)
    monkeypatch.setattr(starter, "SHIPPED", tmp_path / "starter")
    return folder


def begins_with_starter(reader: Reader) -> bool:
    return torch.equal(reader.state_dict()[HEAD], torch.full((256,), 0.5))


@pytest.mark.parametrize("wanted", [True, False])
def test_evaluation_and_trainer_begin_with_the_starter_unless_told_not_to(
    base: Path, tmp_path: Path, wanted: bool
) -> None:
    settings = tiny.settings(base_model=str(base), starter=wanted)
    measured = base_system(settings, CPU, torch.float32)
    store = Store.open(str(tmp_path / "store"))
    trained = find_origin(settings, Checkpoints(store), Snapshots(store)).model
    assert begins_with_starter(measured.reader) == begins_with_starter(trained.reader) == wanted
    assert trained.config.max_span_width == (12 if wanted else 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", letter_model(scale_init=7.0))
    phases = [{"steps": 30}, {"steps": 70}]
    card = {"recipe": "realm", "phases": phases}
    (tmp_path / "model" / CARD_FILE).write_text(json.dumps(card))
    return tmp_path / "model"


def test_it_is_called_by_its_recipe_and_knows_its_steps(folder: Path) -> None:
    system = trained_system(Recipe.REALM, folder, CPU, torch.float32)
    assert (system.name, system.step) == ("realm", 100)
    assert system.relevance.scale == pytest.approx(7.0)
    texts = [system.inputs.query("a b c")]
    expected = encode(letter_model().retriever.passage, texts, system.inputs.pad)
    assert np.array_equal(system.passage.encode(texts), expected)


def test_another_recipe_s_model_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="made by the recipe realm, not ict: give --system"):
        trained_system(Recipe.ICT, folder, CPU, torch.float32)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"recipe": "realm", "phases": [1]}'])
def test_a_card_that_says_nothing_is_refused(folder: Path, card: str) -> None:
    (folder / CARD_FILE).write_text(card)
    with pytest.raises(Corrupt, match="does not say how this model was trained"):
        trained_system(Recipe.REALM, folder, CPU, torch.float32)


def test_a_missing_model_says_how_to_make_it(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "nowhere"):
        with pytest.raises(InvalidInput, match="train-retriever --recipe dpr --documents FILE"):
            trained_system(Recipe.DPR, folder, CPU, torch.float32)

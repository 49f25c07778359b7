"""A trained model's folder as a system: named by its recipe, refused where it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from realm.errors import Corrupt, InvalidInput
from realm.evaluation.trained import CARD_FILE, Recipe, trained_system
from realm.model.checkpoint import write_model
from tests.tiny import letter_model

CPU = torch.device("cpu")


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
    assert system.scale == pytest.approx(7.0)
    expected = letter_model().retriever.passage.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in system.passage.state_dict().items())


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

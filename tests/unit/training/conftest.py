"""A system of the tiny random model, and the tiny base on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from realm.evaluation.systems import System, system_of
from realm.model.checkpoint import Model
from tests import tiny
from tests.tiny import letter_model


@pytest.fixture
def system() -> System:
    return system_of(letter_model(), "tiny", 0, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def model(base: Path) -> Model:
    return tiny.make_model(base)

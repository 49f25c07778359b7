"""A system of the tiny random model."""

from __future__ import annotations

import pytest
import torch

from realm.evaluation.systems import System, system_of
from tests.unit.embedder.tiny import tiny_model


@pytest.fixture
def system() -> System:
    return system_of(tiny_model(), "tiny", 0, torch.device("cpu"), torch.float32)

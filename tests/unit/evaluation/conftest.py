"""A system of the tiny random model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from realm.evaluation.systems import System, make_system
from realm.model.relevance import Relevance
from tests.tiny import letter_model


@pytest.fixture
def system() -> System:
    made = make_system(letter_model(), "tiny", 0, torch.device("cpu"), torch.float32)
    return dataclasses.replace(made, relevance=Relevance(20.0))

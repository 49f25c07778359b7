"""A system of the tiny random model."""

from __future__ import annotations

import pytest
import torch

from realm.evaluation.systems import System
from realm.model.relevance import Relevance
from tests.tiny import letter_model


@pytest.fixture
def system() -> System:
    model = letter_model()
    return System(
        name="tiny",
        base="tiny",
        step=0,
        inputs=model.inputs,
        passage=model.retriever.passage.eval(),
        query=model.retriever.query.eval(),
        reader=model.reader.eval(),
        relevance=Relevance(20.0),
        dtype=torch.float32,
    )

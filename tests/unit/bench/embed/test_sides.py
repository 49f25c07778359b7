from __future__ import annotations

import pytest
import torch

from bench.embed.sides import (
    Text,
    exact,
    inputs_of,
    least_cosine,
    openvino_sides,
    passages,
    realm_sides,
    sentence_transformers_sides,
)
from realm.model.checkpoint import new_model

TEXTS = [
    Text("Amazon", "The rainforest covers most of the Amazon basin of South America."),
    Text("", "One."),
    Text("Oxygen", "Oxygen is the chemical element with the symbol O. " * 40),
]


@pytest.mark.parametrize("make", [realm_sides, sentence_transformers_sides, openvino_sides])
def test_every_side_makes_the_same_vectors(make: object) -> None:
    sides = make(torch.float32)  # type: ignore[operator]
    if not sides:
        pytest.skip("not installed")
    model = new_model()
    expected = exact(model, inputs_of(model.inputs, TEXTS))
    for side in sides.values():
        assert least_cosine(side(TEXTS), expected) > 0.9999


def test_there_are_as_many_passages_as_rates_are_told_of() -> None:
    source, texts = passages(0, 3000)
    assert source
    assert len(texts) == 3000

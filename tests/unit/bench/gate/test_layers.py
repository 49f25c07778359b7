"""An encoder in two parts is the encoder."""

from __future__ import annotations

import numpy as np

from bench import tiny
from bench.gate.layers import SplitEncoder
from realm.model.encoders import encode

TEXTS = ["the town", "a river of the town rose", "people live there", "its mayor was founded in it"]


def test_both_parts_together_give_the_encoder_s_vectors_in_any_order() -> None:
    model = tiny.tiny_model()
    inputs = [model.inputs.query(text) for text in TEXTS]
    expected = encode(model.retriever.query.eval(), inputs, model.inputs.pad)
    split = SplitEncoder(model.retriever.query, model.inputs.pad, top=1)
    states = split.lower(inputs)
    for order in range(3):
        found = split.upper(states, split.top, order)
        assert np.allclose(found, expected, atol=1e-5)


def test_noise_follows_from_its_seed_and_leaves_the_encoder_alone() -> None:
    model = tiny.tiny_model()
    split = SplitEncoder(model.retriever.query, model.inputs.pad, top=1)
    states = split.lower([model.inputs.query(text) for text in TEXTS])
    before = split.upper(states, split.top, 0)
    noisy = split.upper(states, split.noisy(1.0, seed=1), 0)
    assert not np.allclose(noisy, before, atol=1e-2)
    assert np.array_equal(noisy, split.upper(states, split.noisy(1.0, seed=1), 0))
    assert np.array_equal(before, split.upper(states, split.top, 0))

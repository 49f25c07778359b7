"""An encoder in two parts is the encoder."""

from __future__ import annotations

import copy

import numpy as np
import torch

from bench import tiny
from bench.gate.layers import SplitEncoder, lower_layers_once
from realm.model.encoders import collate
from realm.model.frozen_encoder import encode

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


def test_what_copies_have_in_common_runs_once_for_all_of_them() -> None:
    model = tiny.tiny_model()
    reader, below = model.reader.eval(), []
    inputs = collate([model.inputs.query(text) for text in TEXTS], model.inputs.pad)
    reader.backbone.layers[0].register_forward_hook(lambda *_: below.append(1))
    copies = [reader, copy.deepcopy(reader)]
    with torch.inference_mode():
        copies[1].backbone.layers[-1].get_parameter("output.dense.weight").mul_(2.0)
        expected = [each.hidden(*inputs) for each in copies]
        below.clear()
        runner = lower_layers_once(top=1)
        for each, states in zip(copies, expected, strict=True):
            each.runner = runner
            assert torch.equal(each.hidden(*inputs), states)
    assert not torch.equal(*expected)
    assert len(below) == 1

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realm.model import products
from realm.model.bert import ACTIVATIONS
from realm.model.blocks import states_of_blocks
from realm.model.checkpoint import Model
from realm.model.config import Pooling, Projection
from realm.model.encoders import Encoder, collate
from realm.model.flat_bert import FlatBert
from realm.model.frozen_encoder import FrozenEncoder, encode
from realm.model.inputs import Encoded
from realm.model.products import has_onednn
from tests.unit.model.conftest import TINY_SHAPE
from tests.unit.model.test_encoders import cosines, real_passages, tiny_encoder

Vectors = NDArray[np.float32]

LONGEST = TINY_SHAPE.max_position_embeddings


def texts_of(lengths: Sequence[int]) -> list[Encoded]:
    return [
        Encoded([5 + i % 7 for i in range(n)], [int(i > n // 2) for i in range(n)]) for n in lengths
    ]


def padded(encoder: Encoder, inputs: Sequence[Encoded]) -> Vectors:
    """As the encoder itself makes them, which learns this way."""
    with torch.inference_mode():
        found: Vectors = encoder(*collate(inputs, 0)).numpy()
    return found


@given(st.lists(st.integers(1, LONGEST), min_size=1, max_size=12))
def test_flat_equals_padded_at_any_lengths(lengths: list[int]) -> None:
    encoder, inputs = tiny_encoder(), texts_of(lengths)
    found = FrozenEncoder(encoder, 0).encode(inputs)
    np.testing.assert_allclose(found, padded(encoder, inputs), atol=1e-5)


@given(
    st.lists(st.integers(1, LONGEST), min_size=2, max_size=6), st.sampled_from([1, 4, 100, 4096])
)
@settings(max_examples=20)
def test_in_float32_no_vector_depends_on_its_neighbours(lengths: list[int], budget: int) -> None:
    frozen, inputs = FrozenEncoder(tiny_encoder(), 0), texts_of(lengths)
    alone = np.concatenate([frozen.encode([one]) for one in inputs])
    np.testing.assert_allclose(frozen.encode(inputs, token_budget=budget), alone, atol=1e-6)


@pytest.mark.parametrize(
    "projection", [None, Projection(6), Projection(4, False, activation="tanh")]
)
@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "pooler"])
def test_every_pooling_and_projection(pooling: Pooling, projection: Projection | None) -> None:
    encoder = tiny_encoder(pooling=pooling, projection=projection, vector_size=3, normalize=True)
    inputs = texts_of([1, 7, 33, LONGEST])
    found = FrozenEncoder(encoder, 0).encode(inputs)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found, padded(encoder, inputs), atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("hidden_act", ACTIVATIONS)
def test_every_activation_with_onednn_and_without(
    hidden_act: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "has_onednn", lambda _: fused and has_onednn(torch.float32))
    encoder = tiny_encoder(base=dataclasses.replace(TINY_SHAPE, hidden_act=hidden_act))
    inputs = texts_of([3, 16, 40])
    found = FrozenEncoder(encoder, 0).encode(inputs)
    np.testing.assert_allclose(found, padded(encoder, inputs), atol=1e-5)


def test_double_precision_stays() -> None:
    encoder, inputs = tiny_encoder().double(), texts_of([2, 20])
    flat = FlatBert(encoder.backbone, torch.float64)  # type: ignore[arg-type]
    states = states_of_blocks(flat, [collate(inputs, 0)])
    assert states[0].dtype == torch.float64
    np.testing.assert_allclose(
        FrozenEncoder(encoder, 0).encode(inputs), padded(encoder, inputs), atol=1e-6
    )


def test_dropout_is_off_whatever_the_mode_was() -> None:
    encoder, inputs = tiny_encoder(), texts_of([5, 9])
    expected = encode(encoder, inputs, 0)
    assert np.array_equal(encode(encoder.train(), inputs, 0), expected)
    assert encoder.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_text_is_encoded_as_before(minilm_model: Model, dtype: torch.dtype) -> None:
    """One word, an empty passage, the longest input and ordinary ones, against the padded way."""
    encoder, inputs = minilm_model.retriever.passage.eval(), minilm_model.inputs
    _, passages = real_passages(inputs, 12)
    words = [one for passage in passages for one in passage.ids[1:-1]]
    longest = inputs.passage([], words)
    texts = [inputs.query("why"), inputs.null_passage(), longest, *passages]
    assert len(longest) == minilm_model.config.lengths.passage
    exact = padded(encoder, texts)
    assert cosines(FrozenEncoder(encoder, inputs.pad, dtype).encode(texts), exact).min() > 0.9995

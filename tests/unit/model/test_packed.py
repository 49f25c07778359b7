"""Inputs without padding, and encoders on a GPU, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realm.model import frozen_encoder
from realm.model.batch_forward import PackedForward, PaddedForward, make_forward
from realm.model.config import Pooling, Projection
from realm.model.encoders import Encoder
from realm.model.frozen_encoder import FrozenEncoder, Progress
from realm.model.inputs import Encoded
from realm.model.packed import Packed
from realm.model.reader import Reader
from tests.unit.model.conftest import TINY, TINY_SHAPE
from tests.unit.model.test_encoders import cosines, tiny_encoder
from tests.unit.model.test_flat_bert import padded, texts_of

CPU, GPU = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
#: Heads of 16 numbers, as flash attention wants a multiple of 8.
SHAPE = replace(TINY_SHAPE, hidden_size=64, intermediate_size=256)
LENGTHS = [1, 2, 7, 33, 64, 5, 40, 64, 12]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9))
def test_packed_inputs_lie_one_after_the_other_and_come_apart_again(lengths: list[int]) -> None:
    inputs = texts_of(lengths)
    packed = Packed.of(inputs, CPU)
    assert packed.ids.tolist() == [one for each in inputs for one in each.ids]
    assert packed.segments.tolist() == [one for each in inputs for one in each.segments]
    assert packed.positions.tolist() == [place for n in lengths for place in range(n)]
    states = torch.arange(len(packed.ids), dtype=torch.float32).unsqueeze(1)  # [tokens, 1]
    rows, mask = packed.padded(states)
    assert mask.sum(dim=1).tolist() == lengths
    assert torch.equal(rows[mask], states)


def test_on_a_processor_nothing_is_packed() -> None:
    assert not isinstance(make_forward(tiny_encoder(), 0, torch.bfloat16), PackedForward)


@pytest.fixture
def fitting() -> Iterator[dict[torch.device, int]]:
    yield frozen_encoder._fitting
    frozen_encoder._fitting.clear()


def test_where_a_batch_does_not_fit_half_of_it_is_tried_from_then_on(
    monkeypatch: pytest.MonkeyPatch, fitting: dict[torch.device, int]
) -> None:
    encoder = FrozenEncoder(tiny_encoder(), 0)
    inputs, asked = texts_of(LENGTHS * 5), list[int]()
    expected = encoder.encode(inputs)
    vectors = encoder._forward.vectors

    def on_a_small_device(batches: list[list[Encoded]]) -> Iterator[object]:
        for batch in batches:
            asked.append(sum(map(len, batch)))
            if asked[-1] > 100:
                raise torch.OutOfMemoryError("out of memory")
            yield from vectors([batch])

    monkeypatch.setattr(encoder._forward, "vectors", on_a_small_device)
    heard: list[Progress] = []
    made = encoder.encode(inputs, on_batch=heard.append)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert heard[-1].done == len(inputs)
    assert fitting[CPU] < 256
    failed = len([tokens for tokens in asked if tokens > 100])
    encoder.encode(inputs)
    assert len([tokens for tokens in asked if tokens > 100]) == failed


def test_an_input_that_does_not_fit_alone_is_an_error(
    monkeypatch: pytest.MonkeyPatch, fitting: dict[torch.device, int]
) -> None:
    def full(batches: object) -> Iterator[object]:
        raise torch.OutOfMemoryError("out of memory")
        yield

    encoder = FrozenEncoder(tiny_encoder(), 0)
    monkeypatch.setattr(encoder._forward, "vectors", full)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(texts_of([30, 30]))


def on_gpu(encoder: Encoder, dtype: torch.dtype = torch.bfloat16) -> FrozenEncoder:
    return FrozenEncoder(encoder.to(GPU), 0, dtype)


@needs_gpu
@pytest.mark.parametrize("projection", [None, Projection(6)])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "pooler"])
def test_a_gpu_makes_the_vectors_of_a_processor(
    pooling: Pooling, projection: Projection | None
) -> None:
    encoder = tiny_encoder(base=SHAPE, pooling=pooling, projection=projection)
    inputs = texts_of(LENGTHS)
    expected = padded(encoder, inputs)
    frozen = on_gpu(encoder)
    assert isinstance(frozen._forward, PackedForward)
    for budget in (None, 1, 70):
        made = frozen.encode(inputs, token_budget=budget)
        assert cosines(made, expected).min() > 0.999
    made = on_gpu(encoder, torch.float32).encode(inputs)
    np.testing.assert_allclose(made, expected, atol=1e-4)


@needs_gpu
def test_what_flash_attention_has_no_kernel_for_is_padded_on_a_gpu() -> None:
    encoder, inputs = tiny_encoder(), texts_of(LENGTHS)  # heads of 4
    expected = padded(encoder, inputs)
    frozen = on_gpu(encoder)
    assert isinstance(frozen._forward, PaddedForward)
    assert cosines(frozen.encode(inputs), expected).min() > 0.999


@needs_gpu
def test_a_batch_larger_than_a_gpu_is_halved(fitting: dict[torch.device, int]) -> None:
    encoder = tiny_encoder(base=replace(SHAPE, hidden_size=512, intermediate_size=8192))
    inputs = texts_of([64] * 4000)
    frozen = on_gpu(encoder)
    expected = frozen.encode(inputs, token_budget=4096)
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved() + (512 << 20)
    torch.cuda.set_per_process_memory_fraction(held / torch.cuda.mem_get_info()[1])
    try:
        made = frozen.encode(inputs, token_budget=256_000)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert fitting[frozen.device] < 256_000
    assert cosines(made, expected).min() > 0.9999


@needs_gpu
def test_a_reader_reads_on_a_gpu_as_on_a_processor() -> None:
    torch.manual_seed(0)
    reader = Reader(TINY).eval()
    ids = torch.tensor([[2, 5, 6, 3, 7, 8, 9, 3]])
    segments, mask = torch.tensor([[0] * 4 + [1] * 4]), torch.ones(1, 8, dtype=torch.bool)
    with torch.inference_mode():
        expected = reader(ids, segments, mask).logits
        found = reader.to(GPU)(ids.to(GPU), segments.to(GPU), mask.to(GPU)).logits
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)

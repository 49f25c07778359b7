"""Vectors by an encoder that learns no more: its batches, its threads, what callers hear of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from realm.errors import InvalidInput
from realm.model.config import Projection
from realm.model.encoders import collate
from realm.model.frozen_encoder import FrozenEncoder, Progress, encode
from realm.model.inputs import Encoded
from tests.unit.model.test_encoders import tiny_encoder


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_give_the_vectors_of_one_in_the_order_of_the_inputs() -> None:
    inputs = [Encoded([5 + n % 7] * (1 + n * 5 % 30), [0] * (1 + n * 5 % 30)) for n in range(40)]
    encoder, heard = FrozenEncoder(tiny_encoder(), 0), list[Progress]()
    made = encoder.encode(inputs, token_budget=64, on_batch=heard.append)
    assert torch.get_num_threads() == 2
    assert [each.done for each in heard] == sorted({each.done for each in heard})
    assert heard[-1].done == len(inputs)
    alone = np.concatenate([encoder.encode([each]) for each in inputs])
    np.testing.assert_allclose(made, alone, atol=1e-6)


@pytest.mark.usefixtures("two_threads")
def test_a_cancelled_encode_of_several_threads_leaves_their_number_as_it_was() -> None:
    def cancel(progress: Progress) -> None:
        raise KeyError(progress.done)

    with pytest.raises(KeyError):
        encode(tiny_encoder(), [Encoded([5, 6], [0, 0])] * 30, 0, token_budget=16, on_batch=cancel)
    assert torch.get_num_threads() == 2


def test_progress_counts_inputs_tokens_and_padding() -> None:
    heard: list[Progress] = []
    inputs = [Encoded([5] * n, [0] * n) for n in (2, 17, 5)]
    encode(tiny_encoder(), inputs, 0, token_budget=34, on_batch=heard.append)
    assert heard == [Progress(1, 3, 32, 15), Progress(3, 3, 64, 40)]


def test_a_cancelled_encode_stops_and_leaves_the_mode_as_it_was() -> None:
    class Cancelled(Exception):
        pass

    def cancel(progress: Progress) -> None:
        raise Cancelled(progress.done)

    encoder = tiny_encoder().train()
    with pytest.raises(Cancelled, match="1"):
        encode(encoder, [Encoded([5, 6], [0, 0])] * 3, 0, token_budget=2, on_batch=cancel)
    assert encoder.training


def test_dropout_is_off_while_vectors_are_made() -> None:
    encoder = tiny_encoder(projection=Projection(4)).train()
    inputs = [Encoded([5, 6, 7], [0, 0, 0])]
    assert (encode(encoder, inputs, 0) == encode(encoder, inputs, 0)).all()
    assert not torch.equal(encoder(*collate(inputs, 0)), encoder(*collate(inputs, 0)))


def test_nothing_in_is_nothing_out() -> None:
    assert encode(tiny_encoder(projection=Projection(4)), [], 0).shape == (0, 4)


def test_an_input_without_tokens_is_refused() -> None:
    with pytest.raises(InvalidInput):
        encode(tiny_encoder(), [Encoded([], [])], 0)

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch

from realm.errors import BadSettings
from realm.model.bert import ACTIVATIONS, Bert, SelfAttention
from realm.model.config import BertShape
from tests.unit.model.conftest import TINY_SHAPE

if TYPE_CHECKING:
    from transformers import BertModel


def of_transformers(shape: BertShape) -> BertModel:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**dataclasses.asdict(shape), attn_implementation="eager"))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("hidden_act", ACTIVATIONS)
def test_states_pooled_vectors_and_gradients_are_those_of_transformers(
    hidden_act: str, fused: bool
) -> None:
    shape = dataclasses.replace(TINY_SHAPE, hidden_act=hidden_act)
    theirs, ours = of_transformers(shape).eval().double(), Bert(shape, pooler=True).eval().double()
    ours.load_state_dict(theirs.state_dict())
    for module in ours.modules():
        if isinstance(module, SelfAttention):
            module.fused = fused
    ids = torch.randint(shape.vocab_size, (3, 9))
    segments = torch.randint(2, (3, 9))
    mask = torch.arange(9) < torch.tensor([[9], [5], [1]])

    expected = theirs(input_ids=ids, token_type_ids=segments, attention_mask=mask)
    states = ours(ids, segments, mask)
    assert ours.pooler is not None
    torch.testing.assert_close(states[mask], expected.last_hidden_state[mask])
    torch.testing.assert_close(ours.pooler(states), expected.pooler_output)
    upstream = torch.randn(int(mask.sum()), shape.hidden_size)
    (states[mask] * upstream).sum().backward()
    (expected.last_hidden_state[mask] * upstream).sum().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)


def test_a_seed_gives_the_fresh_weights_that_it_gives_in_transformers() -> None:
    torch.manual_seed(1)
    theirs = of_transformers(TINY_SHAPE).state_dict()
    torch.manual_seed(1)
    ours = Bert(TINY_SHAPE, pooler=True).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_unknown_activation_is_named() -> None:
    with pytest.raises(BadSettings, match="squash is unknown; known are gelu,"):
        Bert(dataclasses.replace(TINY_SHAPE, hidden_act="squash"))

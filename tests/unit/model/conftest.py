"""The default base, loaded once, and a tiny model for what does not depend on size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from realm.model.base import Base, load_base
from realm.model.bert import Bert
from realm.model.checkpoint import Model, new_model
from realm.model.config import BertShape, ModelConfig
from realm.model.inputs import InputLimits
from realm.model.reader import MaskedLMHead
from tests.tiny import SPECIAL, tokenizer, write_base

WORDS = [*SPECIAL, "who", "wrote", "it", "she", "did", "in", "."]
TINY_SHAPE = BertShape(
    vocab_size=len(WORDS),
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=32,
    max_position_embeddings=64,
)
TINY = ModelConfig(
    base=TINY_SHAPE,
    pooling="mean",
    lengths=InputLimits(passage=32, title=8, query=16, reader=48),
    span_hidden_size=8,
    max_span_width=4,
)


@pytest.fixture(scope="session")
def minilm() -> Base:
    return load_base()


@pytest.fixture(scope="session")
def minilm_model(minilm: Base) -> Model:
    return new_model(minilm)


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    """A plain BERT checkpoint on disk, with pooler and masked-LM head, of random weights."""
    torch.manual_seed(3)
    backbone = Bert(TINY_SHAPE, pooler=True).state_dict()
    head = MaskedLMHead(TINY_SHAPE)
    torch.nn.init.normal_(head.bias)
    weights = {f"bert.{name}": tensor for name, tensor in backbone.items()}
    weights["bert.embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    base = Base(TINY, weights, dict(head.state_dict()), tokenizer(WORDS))
    return write_base(tmp_path / "tiny-bert", base)


@pytest.fixture
def tiny_model(bert_folder: Path) -> Model:
    return new_model(
        bert_folder,
        pooling="mean",
        lengths=TINY.lengths,
        span_hidden_size=TINY.span_hidden_size,
        max_span_width=TINY.max_span_width,
    )

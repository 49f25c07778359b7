"""A whole model of a few thousand weights: real code paths in milliseconds."""

from __future__ import annotations

import string

import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer

from realm.model.base import Base
from realm.model.checkpoint import Model, new_model
from realm.model.config import BertShape, ModelConfig
from realm.model.encoders import build_backbone
from realm.model.inputs import InputLimits

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "a", "eiffel", "tower", "paris", "is", "in", "who", "built", "river"]
CHARACTERS = [*string.ascii_lowercase, *string.digits]
VOCABULARY = [
    *SPECIAL,
    *WORDS,
    *(c for c in CHARACTERS if c != "a"),
    *(f"##{c}" for c in CHARACTERS),
    *string.punctuation,
]


def tiny_tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    return Tokenizer.from_str(BertWordPieceTokenizer(vocabulary, lowercase=True).to_str())


def tiny_model(seed: int = 0) -> Model:
    """Random weights by `seed`: two seeds are two models that agree on nothing."""
    shape = BertShape(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    config = ModelConfig(
        base=shape,
        normalize=True,
        lengths=InputLimits(passage=64, title=8, query=24, reader=96),
        scale_init=5.0,
        span_hidden_size=8,
        max_span_width=5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build_backbone(shape, pooler=False).state_dict()
    return new_model(Base(config, dict(weights), {}, tiny_tokenizer()), seed=seed)

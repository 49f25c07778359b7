"""A small BERT of random weights over the packaged model's vocabulary.

Pooled by the mean, its vectors are bags of words in effect: it finds like texts, and quickly.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer

from bench.documents import DocumentWriter, whole_words
from realm.model.base import Base, default_folder, read_tokenizer
from realm.model.bert import Bert
from realm.model.checkpoint import Model, copy_model, new_model
from realm.model.config import NORMALISED_SCALE, BertShape, ModelConfig
from realm.model.inputs import InputLimits

LENGTHS = InputLimits(passage=96, title=16, query=64, reader=160)
#: Of a weight's own spread: vectors move, neighbours stay; readers come to disagree.
NOISE, READER_NOISE = 0.05, 0.3
#: An untrained reader finds all spans alike; a louder one has an opinion that an audit can tell.
LOUD = 10.0
FAINT = 0.05
#: A token that no writer of documents uses, and what a weight must be for no number to come of it.
POISON = "1986"
HUGE = 3e38


def random_base(
    words: Tokenizer, lengths: InputLimits, *, seed: int = 0, pooler: bool = False, **shape: Any
) -> Base:
    """A base whose weights follow from `seed`; `shape` are fields of `BertShape`."""
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": lengths.reader,
    }
    made = BertShape(vocab_size=words.get_vocab_size(), **{**small, **shape})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = dict(Bert(made, pooler=pooler).state_dict())
    config = ModelConfig(
        base=made, normalize=True, lengths=lengths, span_hidden_size=8, max_span_width=4
    )
    return Base(config, backbone, {}, words)


def tokenizer() -> Tokenizer:
    return read_tokenizer(default_folder())


def tiny_model(seed: int = 0) -> Model:
    base = random_base(tokenizer(), LENGTHS, seed=seed, hidden_size=64, intermediate_size=128)
    for name in ("position_embeddings", "token_type_embeddings"):
        # Untrained, they would drown the words: a question has other places than its passage.
        base.backbone[f"embeddings.{name}.weight"] *= FAINT
    made = new_model(
        base,
        seed=seed,
        scale_init=NORMALISED_SCALE,
        span_hidden_size=16,
        max_span_width=6,
        base_name="tiny",
    )
    with torch.no_grad():
        made.reader.get_parameter("qa_outputs.dense_output.weight").mul_(LOUD)
    return made


def writer(model: Model, seed: int) -> DocumentWriter:
    """Of the words that the model knows."""
    numbers: dict[str, int] = model.inputs.tokenizer.get_vocab()
    return DocumentWriter(whole_words(sorted(numbers, key=numbers.__getitem__)), seed)


def perturbed(model: Model, seed: int) -> Model:
    """As after some training: every weight differs a little."""
    found = copy_model(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part, share in ((found.retriever, NOISE), (found.reader, READER_NOISE)):
            for parameter in part.parameters():
                usual = parameter[parameter.abs() < HUGE]
                spread = usual.std() if usual.numel() > 1 else torch.zeros(())
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * (share * spread))
    return found


def poisoned(model: Model) -> Model:
    """Whose passage encoder makes no finite vector of a text with the token `POISON`."""
    found = copy_model(model)
    row = model.inputs.tokenizer.token_to_id(POISON)
    words = "backbone.embeddings.word_embeddings.weight"
    with torch.no_grad():
        found.retriever.passage.get_parameter(words)[row] = HUGE
    return found


def degraded(model: Model, seed: int) -> Model:
    """Without word embeddings, and deaf to words: it finds by chance alone."""
    found = perturbed(model, seed)
    with torch.no_grad():
        found.retriever.word_weight.zero_()
        for tower in {found.retriever.query, found.retriever.passage}:
            tower.get_parameter("backbone.embeddings.word_embeddings.weight").zero_()
    return found

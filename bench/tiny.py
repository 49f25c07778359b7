"""A BERT of random weights over the packaged model's vocabulary: what size does not change.

Pooled by the mean, its vectors are bags of words in effect: like texts are found, quickly.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

from realm.model.base import Base, default_folder, read_tokenizer
from realm.model.checkpoint import Model, new_model, write_model
from realm.model.config import NORMALISED_SCALE, BertShape, ModelConfig
from realm.model.encoders import build_backbone
from realm.model.inputs import InputLimits
from realm.records.snapshots import Snapshot, Snapshots

LENGTHS = InputLimits(passage=96, title=16, query=64, reader=160)
#: Of a weight's own spread: vectors move, neighbours stay.
NOISE = 0.05
FAINT = 0.05


def tokenizer() -> Tokenizer:
    return read_tokenizer(default_folder())


def tiny_model(seed: int = 0) -> Model:
    words = tokenizer()
    shape = BertShape(
        vocab_size=words.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=LENGTHS.reader,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = dict(build_backbone(shape, pooler=False).state_dict())
    for name in ("position_embeddings", "token_type_embeddings"):
        # Untrained, they would drown the words: a question has other places than its passage.
        backbone[f"embeddings.{name}.weight"] *= FAINT
    config = ModelConfig(
        base=shape,
        normalize=True,
        lengths=LENGTHS,
        scale_init=NORMALISED_SCALE,
        span_hidden_size=16,
        max_span_width=6,
        base_name="tiny",
    )
    return new_model(Base(config, backbone, {}, words), seed=seed)


def vocabulary(model: Model) -> list[str]:
    """The word pieces in their order."""
    numbers: dict[str, int] = model.inputs.tokenizer.get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


def changed(model: Model, seed: int) -> Model:
    """As after some training: every weight a little different."""
    found = _copy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [*found.retriever.parameters(), *found.reader.parameters()]:
            spread = parameter.std() if parameter.numel() > 1 else torch.zeros(())
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (NOISE * spread))
    return found


def spoilt(model: Model, seed: int) -> Model:
    """Blind to words: whatever it finds, it finds by chance."""
    found = changed(model, seed)
    with torch.no_grad():
        for tower in {found.retriever.query, found.retriever.passage}:
            tower.get_parameter("backbone.embeddings.word_embeddings.weight").zero_()
    return found


def publish(snapshots: Snapshots, model: Model, step: int) -> Snapshot:
    with tempfile.TemporaryDirectory(prefix="realm-snapshot-") as folder:
        write_model(Path(folder), model)
        return snapshots.publish(
            Path(folder),
            step=step,
            fingerprint=model.inputs.fingerprint,
            vector_size=model.config.embedding_size,
        )


def _copy(model: Model) -> Model:
    retriever, reader = copy.deepcopy(model.retriever), copy.deepcopy(model.reader)
    return Model(model.config, model.inputs, retriever, reader)

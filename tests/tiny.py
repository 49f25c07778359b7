"""Tiny models of random weights and a small corpus, for tests of what size does not change."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer, Tokenizer

from bench.tiny import random_base
from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document
from realm.model.base import Base
from realm.model.checkpoint import Model, new_model
from realm.model.inputs import InputBuilder, InputLimits
from realm.model.reader import SpanHead
from realm.settings import Settings, load_settings

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = string.ascii_lowercase + string.digits
# With every letter in the vocabulary each text has word pieces, and words have several.
PIECES = (*LETTERS, *(f"##{letter}" for letter in LETTERS))
VOCABULARY = [
    *(*SPECIAL, *string.punctuation, *PIECES),
    *("the", "town", "of", "was", "founded", "in", "river", "people", "live", "and", "its"),
]
EIFFEL_WORDS = ("the", "a", "eiffel", "tower", "paris", "is", "in", "who", "built", "river")
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
LIMITS = InputLimits(passage=96, title=16, query=64, reader=160)
NAMES = ("Arden", "Belmor", "Cestria", "Dunholm", "Esker", "Farrow", "Galen", "Hythe")


def tokenizer(vocabulary: Sequence[str] = VOCABULARY) -> Tokenizer:
    numbers = {word: number for number, word in enumerate(vocabulary)}
    return Tokenizer.from_str(BertWordPieceTokenizer(numbers, lowercase=True).to_str())


def write_base(folder: Path, base: Base | None = None, *, seed: int = 3) -> Path:
    """Writes a plain BERT checkpoint; by default a small random one without pooler and heads."""
    base = base or random_base(tokenizer(), LIMITS, seed=seed, **SHAPE)
    folder.mkdir(parents=True, exist_ok=True)
    predictions = {f"cls.predictions.{name}": part for name, part in base.predictions.items()}
    save_file({**base.backbone, **predictions}, folder / "model.safetensors")
    shape = asdict(base.config.base)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **shape}))
    numbers = base.tokenizer.get_vocab()
    words = sorted(numbers, key=numbers.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def make_model(base: Path, candidates: int = 4) -> Model:
    return new_model(
        base,
        pooling="mean",
        normalize=True,
        scale_init=10.0,
        lengths=LIMITS,
        candidates=candidates,
        span_hidden_size=16,
        max_span_width=6,
    )


def letter_model(seed: int = 0, **overrides: Any) -> Model:
    """A model that spells: a word piece a letter. `overrides` are fields of `ModelConfig`."""
    lengths = InputLimits(passage=32, title=8, query=16, reader=48)
    words = tokenizer([*SPECIAL, *PIECES, ".", "?"])
    base = random_base(words, lengths, seed=seed, max_position_embeddings=64)
    return new_model(base, seed=seed, **overrides)


def eiffel_model(seed: int = 0, **overrides: Any) -> Model:
    """A model with words about the Eiffel Tower: two seeds are two that agree on nothing.
    `overrides` are fields of `ModelConfig`."""
    pieces = [piece for piece in PIECES if piece not in EIFFEL_WORDS]
    words = tokenizer([*SPECIAL, *EIFFEL_WORDS, *pieces, *string.punctuation])
    base = random_base(
        words,
        InputLimits(passage=64, title=8, query=24, reader=96),
        seed=seed,
        num_hidden_layers=1,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    return new_model(base, seed=seed, scale_init=5.0, max_span_width=5, **overrides)


def span_head(model: Model) -> SpanHead:
    """Of a reader that has this kind of head."""
    head = model.reader.qa_outputs
    assert isinstance(head, SpanHead)
    return head


def documents(count: int = 40) -> list[Document]:
    """Towns with a founder and a year each; every founder and year occurs in several."""
    return [
        Document(
            id=f"town-{i}",
            title=f"Town {i}",
            text=(
                f"The town number {i} was founded by {NAMES[i % len(NAMES)]} long ago. "
                f"In {1800 + i % 5} the river of town {i} rose above its old stone banks. "
                f"Some {100 + i} people live there and {NAMES[(i + 3) % len(NAMES)]} is its mayor."
            ),
        )
        for i in range(count)
    ]


def passages(inputs: InputBuilder, count: int = 40) -> list[Passage]:
    return [p for document in documents(count) for p in split_document(document, 1, inputs)]


def settings(**given: object) -> Settings:
    """Small and quick; nothing of the environment but what is given."""
    chosen: dict[str, object] = {
        "passage_tokens": LIMITS.passage,
        "query_tokens": LIMITS.query,
        "reader_tokens": LIMITS.reader,
        "train_passage_tokens": LIMITS.passage,
        "candidates": 4,
        "inverse_cloze_batch": 4,
        "masked_lm_batch": 2,
        "objectives": "inverse_cloze=1,masked_lm=1",
        "warmup_steps": 2,
        "trainable_layers": 1,
        "retriever_learning_rate": 1e-3,
        "reader_learning_rate": 1e-3,
        "snapshot_min_seconds": 0,
        **given,
    }
    return load_settings(**chosen)

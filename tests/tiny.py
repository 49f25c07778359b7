"""A tiny BERT of random weights and a small corpus, for tests of what size does not change."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from safetensors.torch import save_file

from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document
from realm.model.checkpoint import Model, new_model
from realm.model.config import BertShape
from realm.model.encoders import build_backbone
from realm.model.inputs import InputBuilder, InputLimits
from realm.settings import Settings, load_settings

# With every letter in the vocabulary each text has word pieces, and words have several.
LETTERS = string.ascii_lowercase + string.digits
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation),
    *(*LETTERS, *(f"##{letter}" for letter in LETTERS)),
    *("the", "town", "of", "was", "founded", "in", "river", "people", "live", "and", "its"),
]
SHAPE = BertShape(
    vocab_size=len(VOCABULARY),
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=160,
)
LIMITS = InputLimits(passage=96, title=16, query=64, reader=160)
NAMES = ("Arden", "Belmor", "Cestria", "Dunholm", "Esker", "Farrow", "Galen", "Hythe")


def write_base(folder: Path, seed: int = 3) -> Path:
    """A plain BERT checkpoint on disk, without pooler and heads."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = dict(build_backbone(SHAPE, pooler=False).state_dict())
    save_file(weights, folder / "model.safetensors")
    shape = {name: getattr(SHAPE, name) for name in BertShape.__dataclass_fields__}
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **shape}))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
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
    return load_settings(**chosen)  # type: ignore[arg-type]

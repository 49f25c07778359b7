"""A tiny random model in a store, and passages cut for it. Also used by the integration tests."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from realm.corpus.documents import Document
from realm.corpus.passages import Passage, split_document, to_table
from realm.model.base import Base
from realm.model.checkpoint import Model, new_model, write_model
from realm.model.config import BertShape, ModelConfig
from realm.model.encoders import build_backbone
from realm.model.inputs import InputLimits
from realm.records import arrow
from realm.records.generations import Generation, Generations, State
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store

LETTERS = string.ascii_lowercase + string.digits
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), ".", "?"]
SHAPE = BertShape(
    vocab_size=len(WORDS),
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
)
LENGTHS = InputLimits(passage=32, title=8, query=16, reader=48)


def tiny_tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def tiny_model(seed: int = 0, **overrides: object) -> Model:
    """Random weights by `seed`; `overrides` are fields of `ModelConfig`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(SHAPE, pooler=False).state_dict()
    config = ModelConfig(
        base=SHAPE, normalize=True, lengths=LENGTHS, span_hidden_size=8, max_span_width=4
    )
    return new_model(Base(config, backbone, {}, tiny_tokenizer()), seed=seed, **overrides)


def publish(store: Store, model: Model, step: int = 0) -> Snapshot:
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), model)
        return Snapshots(store).publish(
            Path(folder),
            step=step,
            fingerprint=model.inputs.fingerprint,
            vector_size=model.config.embedding_size,
        )


def cut(model: Model, texts: list[str], first: int = 0) -> list[Passage]:
    """One document a text, ids counted from `first`."""
    return [
        passage
        for number, text in enumerate(texts, first)
        for passage in split_document(Document(f"d{number}", "a title", text), 1, model.inputs)
    ]


def write_passages(store: Store, model: Model, passages: list[Passage], name: str = "c") -> str:
    path = f"passages/{model.inputs.fingerprint}/001-000/{name}.arrow"
    arrow.write_table(store, path, to_table(passages))
    return path


def begin_generation(store: Store, snapshot: Snapshot, passage_files: tuple[str, ...]) -> int:
    """A generation that is being built."""
    generations = Generations(store)
    generation = Generation(
        number=generations.next_number(),
        snapshot=snapshot.number,
        step=snapshot.step,
        corpus_version=1,
        fingerprint=snapshot.fingerprint,
        vector_size=snapshot.vector_size,
        passage_files=passage_files,
        collection="passages-00000001",
        created_at=0.0,
        why="test",
    )
    generations.create(generation)
    generations.record(generation.number, State.BUILDING)
    return generation.number

"""Encoders to move to: sentence-transformers folders of random weights, each with a width and a
vocabulary of its own, pooled by [CLS].

In the first layer every token, [CLS] too, sees the mean of all (attention of random weights is
all but even); made loud enough it outweighs the token itself, so that [CLS] becomes a bag of
words: like texts are found, at any width.
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from realm.model.bert import Bert
from realm.model.config import BertShape

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: How much louder a token hears all others than itself.
LOUD = 60.0
FAINT = 0.05
MODULES = ("Transformer", "Pooling", "Normalize")


def write_encoder(folder: Path, words: Tokenizer, *, width: int, share: float, seed: int) -> Path:
    """A folder as sentence-transformers writes it.

    :param words: its vocabulary is a random `share` of this one's, and every character.
    """
    vocabulary = _vocabulary(words, share, seed)
    shape = BertShape(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=192,
    )
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **asdict(shape)}))
    save_file(_weights(shape, seed), folder / "model.safetensors")
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": at, "name": str(at), "path": places[name], "type": f"sentence_transformers.{name}"}
        for at, name in enumerate(MODULES)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    return folder


def _vocabulary(words: Tokenizer, share: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    characters = string.ascii_lowercase + string.digits
    always = [*SPECIAL, *string.punctuation, *characters, *(f"##{each}" for each in characters)]
    known: dict[str, int] = words.get_vocab()
    others = sorted(set(known) - set(always))
    return [*always, *rng.sample(others, int(share * len(others)))]


def _weights(shape: BertShape, seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = dict(Bert(shape).state_dict())
    for name in ("position_embeddings", "token_type_embeddings"):
        weights[f"embeddings.{name}.weight"] *= FAINT
    attention = "encoder.layer.0.attention"
    for name in ("self.value", "output.dense"):
        # Orthogonal, so that no word drowns another.
        torch.nn.init.orthogonal_(
            weights[f"{attention}.{name}.weight"], generator=torch.Generator().manual_seed(seed)
        )
    weights[f"{attention}.output.dense.weight"] *= LOUD
    return weights

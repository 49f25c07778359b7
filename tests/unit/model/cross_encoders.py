"""Tiny cross-encoders of random weights, as transformers saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny import PIECES, SPECIAL

NAMES = {"bert": SPECIAL, "roberta": ("<pad>", "<unk>", "<s>", "</s>", "<mask>")}


def write_cross_encoder(folder: Path, kind: str = "bert", outputs: int = 1, seed: int = 7) -> Path:
    """:param kind: `bert`, or `roberta`, whose pairs have no segments and two separators."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    pad, unk, cls, sep, mask = NAMES[kind]
    words = [pad, unk, cls, sep, mask, *PIECES, ".", "?", ","]
    numbers = {word: number for number, word in enumerate(words)}
    made = Tokenizer(WordPiece(numbers, unk_token=unk))
    made.pre_tokenizer = BertPreTokenizer()
    between = f"{sep} {sep}" if kind == "roberta" else sep
    second = "0" if kind == "roberta" else "1"
    made.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {between} $B:{second} {sep}:{second}",
        special_tokens=[(cls, numbers[cls]), (sep, numbers[sep])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=pad,
        unk_token=unk,
        cls_token=cls,
        sep_token=sep,
        mask_token=mask,
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=130 if kind == "roberta" else 128,
        type_vocab_size=1 if kind == "roberta" else 2,
        pad_token_id=0,
        num_labels=outputs,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder

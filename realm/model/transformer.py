"""Backbones that transformers computes: RoBERTa, XLM-R, MPNet, DistilBERT, ModernBERT and others.

transformers is imported only where such a model is used; plain BERT is `realm.model.bert`.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from realm.errors import BadSettings, Corrupt, Unsupported
from realm.model.bert import ACTIVATIONS, Bert
from realm.model.config import BertShape
from realm.model.weights import Weights

#: Of a config.json: where it lay, code that it would run, and what is not the model's shape.
NOT_STORED = ("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version")
OPTIONAL = ("pooler.",)


class Transformer(nn.Module):
    """An encoder of transformers behind the interface of `Bert`.

    Its weights are fresh; `build` puts others in their place. They are never on the meta device,
    where transformers' unstored buffers (positions, rotary frequencies) would be lost.
    """

    def __init__(self, shape: BertShape) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        values = json.loads(shape.architecture)
        try:
            config = AutoConfig.for_model(values.pop("model_type"), **values)
            with torch.device("cpu"):
                self.model = AutoModel.from_config(config, dtype=torch.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"transformers cannot build the base's model: {error}") from error
        self.model.pooler = None
        self.pooler = None
        self.recompute = False
        self._takes_segments = _takes_segments(self.model)

    @property
    def layers(self) -> nn.ModuleList:
        return _layers(self.model)

    @property
    def word_embeddings(self) -> nn.Embedding:
        found: nn.Embedding = self.model.get_input_embeddings()
        return found

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """`ids`, `segments`, `mask` [batch, tokens] → states [batch, tokens, hidden]."""
        if self.recompute and torch.is_grad_enabled():
            again: Tensor = checkpoint(self._states, ids, segments, mask, use_reentrant=False)
            return again
        return self._states(ids, segments, mask)

    def _states(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        given = {"token_type_ids": segments} if self._takes_segments else {}
        found = self.model(input_ids=ids, attention_mask=mask.to(ids.dtype), **given)
        states: Tensor = found.last_hidden_state
        return states


Backbone = Bert | Transformer


def make_backbone(shape: BertShape, *, pooler: bool = False) -> Backbone:
    """:raises BadSettings: if a pooler is asked of a model that is not plain BERT."""
    if not shape.architecture:
        return Bert(shape, pooler=pooler)
    if pooler:
        raise BadSettings("only BERT-type bases have REALM's pooler: pool by mean, cls or last")
    return Transformer(shape)


def read_transformer(root: Path) -> tuple[BertShape, Weights]:
    """Shape and weights of the encoder in a folder, by `Transformer`'s names.

    :raises Unsupported: if transformers has no encoder for it, or one that realm cannot use.
    :raises Corrupt: if weights are missing or unreadable.
    """
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            root, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (KeyError, TypeError, ValueError, ImportError) as error:
        raise Unsupported(f"transformers cannot load {root}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise Corrupt(f"{root} is not readable: {error}", file=root) from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(OPTIONAL))
    if missing:
        raise Corrupt(f"{root} does not fit: {', '.join(missing[:5])} missing", file=root)
    model.pooler = None
    shape = _shape(model, root)
    return shape, {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def read_fast_tokenizer(root: Path) -> Tokenizer:
    """What transformers makes of a folder's tokenizer files.

    :raises Corrupt: if it can make no fast tokenizer of them.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(root, local_files_only=True)
        return Tokenizer.from_str(found.backend_tokenizer.to_str())
    except Exception as error:  # the tokenizers library raises bare Exception
        raise Corrupt(f"the tokenizer in {root} is not readable: {error}", file=root) from error


def _shape(model: Any, root: Path) -> BertShape:
    config = model.config
    words = model.get_input_embeddings()
    if config.is_encoder_decoder or words.embedding_dim != config.hidden_size:
        raise Unsupported(
            f"{root} describes a {config.model_type} model: realm needs an encoder whose word"
            " embeddings are as wide as its states"
        )
    _layers(model)
    values = {k: v for k, v in config.to_dict().items() if k not in NOT_STORED and k[0] != "_"}
    known = {
        "vocab_size": words.num_embeddings,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": _positions(model),
        "pad_token_id": config.pad_token_id or 0,
    }
    # Of realm's own masked-LM head.
    if getattr(config, "hidden_act", "") in ACTIVATIONS:
        known["hidden_act"] = config.hidden_act
    return BertShape(**known, architecture=json.dumps(values, sort_keys=True))


def _positions(model: Any) -> int:
    """How many tokens an input may have; RoBERTa's kind counts from behind its padding id."""
    found = _embedding(model, "position_embeddings")
    if found is None:
        return int(model.config.max_position_embeddings)
    return found.num_embeddings - (0 if found.padding_idx is None else found.padding_idx + 1)


def _takes_segments(model: Any) -> bool:
    found = _embedding(model, "token_type_embeddings")
    named = "token_type_ids" in inspect.signature(model.forward).parameters
    return named and found is not None and found.num_embeddings > 1


def _embedding(model: nn.Module, name: str) -> nn.Embedding | None:
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == name and isinstance(module, nn.Embedding):
            return module
    return None


def _layers(model: Any) -> nn.ModuleList:
    """:raises Unsupported: if the model is no plain stack of layers."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise Unsupported(f"a {model.config.model_type} model is no stack of layers")

"""A cross-encoder: one score of question and passage read together, by transformers' own class.

Any checkpoint for sequence classification with one output (MS MARCO's MiniLM, BGE's re-rankers) or
two (no, yes). It has a vocabulary of its own and lies in the snapshot beside the reader, so that it
is of the one version; training does not move it. transformers is imported only where one is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from realm.errors import Corrupt, NotFound, Unsupported
from realm.model.base import find_folder, public_name, read_json
from realm.model.encoders import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, at_least_float32, plan_batches
from realm.model.transformer import NOT_STORED, read_fast_tokenizer
from realm.model.weights import build, read_weights, write_weights

CONFIG_FILE = "cross_encoder.json"
TOKENIZER_FILE = "cross_encoder_tokenizer.json"
WEIGHTS_FILE = "cross_encoder.safetensors"
FILES = (CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE)
MOST_TOKENS = 512


@dataclass(frozen=True, slots=True)
class CrossEncoderConfig:
    """`architecture` is transformers' `config.json`; `tokens` the longest pair, in word pieces.

    `weight` is what the logit counts beside f(x, z) where passages are re-ranked.
    """

    name: str
    architecture: str
    tokens: int = MOST_TOKENS
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0 and self.tokens > 3):
            raise Corrupt(f"a cross-encoder cannot have weight {self.weight}, {self.tokens} tokens")


class _Classifier(nn.Module):
    """transformers' model; its weights are fresh, `build` puts others in their place. They are
    never on the meta device, where buffers that no file holds would be lost."""

    def __init__(self, config: CrossEncoderConfig) -> None:
        from transformers import AutoConfig, AutoModelForSequenceClassification

        super().__init__()
        values = json.loads(config.architecture)
        try:
            made = AutoConfig.for_model(values.pop("model_type"), **values)
            with torch.device("cpu"):
                self.model = AutoModelForSequenceClassification.from_config(
                    made, dtype=torch.float32
                )
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"transformers cannot build the cross-encoder: {error}") from error


class CrossEncoder:
    """Scores pairs; in eval mode, and learns nothing."""

    def __init__(
        self, config: CrossEncoderConfig, model: _Classifier, tokenizer: Tokenizer
    ) -> None:
        self.config = config
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(config.tokens, strategy="longest_first")
        self._pad = int(getattr(model.model.config, "pad_token_id", None) or 0)
        self._takes_segments = getattr(model.model.config, "type_vocab_size", 0) > 1

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def to(self, device: torch.device) -> CrossEncoder:
        self.model.to(device)
        return self

    def scores(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        token_budget: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> list[float]:
        """The logit of each question with each passage; the longer text is cut where both are too
        long. With two outputs, by how much yes is more than no.

        :param dtype: the number format (see `runtime.best_dtype`).
        """
        encoded = self.tokenizer.encode_batch(list(pairs))
        budget = token_budget or (
            CUDA_TOKEN_BUDGET if self.device.type == "cuda" else CPU_TOKEN_BUDGET
        )
        half = dtype not in (None, torch.float32)
        scores = [0.0] * len(encoded)
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=half):
            for batch in plan_batches([len(one) for one in encoded], budget):
                found = self._logits([encoded[row] for row in batch]).tolist()
                for row, score in zip(batch, found, strict=True):
                    scores[row] = score
        return scores

    def _logits(self, batch: Sequence[Any]) -> Tensor:
        """[batch]"""

        def padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
            tensors = [torch.tensor(row) for row in rows]
            made = nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filler)
            return made.to(self.device)  # [batch, tokens]

        given = {
            "input_ids": padded([one.ids for one in batch], self._pad),
            "attention_mask": padded([one.attention_mask for one in batch], 0),
        }
        if self._takes_segments:
            given["token_type_ids"] = padded([one.type_ids for one in batch], 0)
        logits = at_least_float32(self.model.model(**given).logits)  # [batch, 1 or 2]
        return logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def pair_text(title: str, text: str) -> str:
    """What of a passage stands beside the question: as the retriever, it reads the title too."""
    return f"{title}\n{text}" if title else text


def load_cross_encoder(name_or_folder: str | Path, weight: float = 1.0) -> CrossEncoder:
    """Reads a checkpoint of transformers, by folder or hub name.

    :raises NotFound, DependencyUnavailable: if there is none of that name, or the hub is away.
    :raises Unsupported: if it is not for sequence classification with one output or two.
    :raises Corrupt: if a file is missing or damaged.
    """
    from transformers import AutoModelForSequenceClassification

    root = find_folder(name_or_folder)
    if not (root / "config.json").is_file():
        raise NotFound(f"{name_or_folder} has no config.json: it is no checkpoint of transformers")
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            root, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (KeyError, TypeError, ValueError, ImportError) as error:
        raise Unsupported(f"transformers cannot load {name_or_folder}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise Corrupt(f"{name_or_folder} is not readable: {error}", file=root) from error
    if missing := sorted(report["missing_keys"]):
        raise Unsupported(
            f"{name_or_folder} is no cross-encoder: it has no {', '.join(missing[:3])}; give a"
            " checkpoint for sequence classification"
        )
    if model.config.num_labels not in (1, 2):
        raise Unsupported(
            f"{name_or_folder} tells {model.config.num_labels} classes apart: a cross-encoder has"
            " one output, or two for no and yes"
        )
    values = {
        k: v for k, v in model.config.to_dict().items() if k not in NOT_STORED and k[0] != "_"
    }
    config = CrossEncoderConfig(
        public_name(name_or_folder),
        json.dumps(values, sort_keys=True),
        tokens=min(MOST_TOKENS, _positions(values)),
        weight=weight,
    )
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    classifier = build(lambda: _Classifier(config), weights, str(name_or_folder))
    return CrossEncoder(config, classifier, read_fast_tokenizer(root))


def _positions(values: dict[str, Any]) -> int:
    """RoBERTa's kind counts positions from behind its padding id."""
    positions = int(values.get("max_position_embeddings") or MOST_TOKENS)
    return positions - 2 if "roberta" in str(values.get("model_type")) else positions


def write_cross_encoder(folder: Path, found: CrossEncoder) -> None:
    """Writes its files into a snapshot's folder."""
    text = json.dumps(asdict(found.config), sort_keys=True, indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    (folder / TOKENIZER_FILE).write_text(found.tokenizer.to_str(), encoding="utf-8")
    write_weights(folder / WEIGHTS_FILE, found.model.state_dict())


def read_cross_encoder(folder: Path) -> CrossEncoder | None:
    """That of a snapshot's folder; None if it has none.

    :raises Corrupt: if a file is missing, damaged, or does not fit the others.
    """
    if not (folder / WEIGHTS_FILE).is_file():
        return None
    values = read_json(folder / CONFIG_FILE)
    try:
        known = {field.name for field in fields(CrossEncoderConfig)}
        config = CrossEncoderConfig(**{name: values[name] for name in known})
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise Corrupt(f"the cross-encoder in {folder} is not readable: {error}") from error
    weights = read_weights(folder / WEIGHTS_FILE)
    path = str(folder / WEIGHTS_FILE)
    return CrossEncoder(config, build(lambda: _Classifier(config), weights, path), tokenizer)

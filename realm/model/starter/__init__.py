"""The starter: trained reader weights for the default base, shipped as package data.

`starter.json` is its card and says which base it belongs to, and s and w of f(x, z) as fitted to
it; `reader.safetensors` holds the reader's trained weights in float16, by `Reader`'s names. All
others are the base's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from realm.errors import BadSettings, Corrupt
from realm.model.config import AnswerRules
from realm.model.relevance import Relevance
from realm.model.weights import Weights, read_weights, write_weights
from realm.records.store import file_sha256

CARD_FILE = "starter.json"
WEIGHTS_FILE = "reader.safetensors"
SHIPPED = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Starter:
    """A card and where it lies; `weights` are read, and their checksum compared, on demand.

    `relevance` is None where the card does not tell it: s and w are then those of a new model.
    """

    folder: Path
    base_sha256: str
    sha256: str
    span_hidden_size: int
    max_span_width: int
    answers: AnswerRules
    passage_scores: bool = False
    relevance: Relevance | None = None

    def weights(self) -> Weights:
        """:raises Corrupt: if the file is missing, altered or not readable."""
        path = self.folder / WEIGHTS_FILE
        if not path.is_file():
            raise Corrupt(f"{path} is missing: install realm again, or set REALM_STARTER=false")
        found = file_sha256(path)
        if found != self.sha256:
            raise Corrupt(
                f"{path} has sha256 {found}, its card says {self.sha256}: install realm again, or"
                " set REALM_STARTER=false",
                file=path,
            )
        return read_weights(path)


def load_starter(base_sha256: str, folder: Path | None = None) -> Starter | None:
    """The starter in a folder (the shipped one), if there is one and it belongs to the base.

    :raises Corrupt: if its card is not readable.
    """
    folder = SHIPPED if folder is None else folder
    path = folder / CARD_FILE
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        found = Starter(
            folder=folder,
            base_sha256=str(card["base_sha256"]),
            sha256=str(card["sha256"]),
            span_hidden_size=int(card["span_hidden_size"]),
            max_span_width=int(card["max_span_width"]),
            answers=AnswerRules(**card.get("answers", {})),
            passage_scores=bool(card.get("passage_scores", False)),
            relevance=Relevance(**card["relevance"]) if "relevance" in card else None,
        )
    except (OSError, ValueError, KeyError, TypeError, BadSettings) as error:
        raise Corrupt(f"{path} is not a starter's card: {error!r}", file=path) from error
    return found if found.base_sha256 == base_sha256 else None


def write_starter(folder: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Writes weights and card; `card` has all fields of `Starter` but folder and sha256.

    Each file is replaced whole; between the two the checksum refuses the pair.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{WEIGHTS_FILE}"
    write_weights(fresh, {name: tensor.to(torch.float16) for name, tensor in weights.items()})
    described = {**card, "sha256": file_sha256(fresh), "bytes": fresh.stat().st_size}
    text = json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    fresh_card = folder / f".{CARD_FILE}"
    fresh_card.write_text(text, encoding="utf-8")
    fresh.replace(folder / WEIGHTS_FILE)
    fresh_card.replace(folder / CARD_FILE)

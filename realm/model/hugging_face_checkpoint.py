"""Reads a folder that transformers' REALM classes wrote, into checked weights by our names.

Safetensors and .bin (tensors only), whole or in shards.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from realm.errors import Corrupt, Unsupported
from realm.model.base import WEIGHT_FILES, find_folder, public_name, read_json, read_tokenizer
from realm.model.config import ModelConfig
from realm.model.encoders import Encoder
from realm.model.hugging_face_format import (
    PREFIXES,
    REALM_KEY,
    Kind,
    Part,
    check_is_realm,
    config_from,
    kind_of,
    split_parts,
    to_realm_names,
    to_transformers_names,
)
from realm.model.reader import Reader
from realm.model.weights import Weights, check_weights, read_weights, without_weights

CONFIG_FILE = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds, by our names: its parts, and a tokenizer if it came with one."""

    origin: str
    kind: Kind
    config: ModelConfig
    parts: dict[Part, Weights]
    tokenizer: Tokenizer | None


def read_checkpoint(name_or_folder: str | Path) -> Checkpoint:
    """Reads a folder or hub repository that transformers' REALM classes wrote.

    :raises NotFound: if there is no such folder or repository.
    :raises DependencyUnavailable: if the hub cannot be reached.
    :raises Unsupported: if it is no REALM checkpoint, or one that realm cannot compute.
    :raises Corrupt: naming the file, or the weights that are missing, extra or misshapen.
    """
    folder = find_folder(name_or_folder)
    if not (folder / CONFIG_FILE).exists():
        raise Unsupported(f"{folder} is no checkpoint of transformers: it has no {CONFIG_FILE}")
    values = _json_object(folder / CONFIG_FILE)
    check_is_realm(values, folder)
    files = _weight_files(folder)
    weights = {name: tensor for file in files for name, tensor in read_weights(file).items()}
    kind = kind_of(values, weights, folder)
    config = config_from(values, kind, folder)
    if REALM_KEY not in values:
        config = dataclasses.replace(
            config, base_name=public_name(name_or_folder), base_sha256=_digest(files)
        )
    parts = _parts(kind, config, weights, folder)
    if kind == "scorer":
        config = dataclasses.replace(
            config, shared_towers=_has_shared_towers(parts, config, values)
        )
    has_tokenizer = any((folder / name).exists() for name in TOKENIZER_FILES)
    return Checkpoint(
        origin=str(name_or_folder),
        kind=kind,
        config=config,
        parts={part: to_realm_names(part, of_part) for part, of_part in parts.items()},
        tokenizer=read_tokenizer(folder) if has_tokenizer else None,
    )


def _json_object(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise Corrupt(f"{path} is not a JSON object", file=path)
    return values


def _weight_files(folder: Path) -> list[Path]:
    """The first of safetensors and .bin that is there, or the shards that its index names."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            names = _json_object(index).get("weight_map", {}).values()
            return [folder / Path(shard).name for shard in sorted(set(names))]
    raise Corrupt(f"{folder} has neither {' nor '.join(WEIGHT_FILES)}", file=folder)


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _parts(kind: Kind, config: ModelConfig, weights: Weights, folder: Path) -> dict[Part, Weights]:
    """The checked parts by transformers' names; a scorer's query tower only if it is stored."""
    try:
        parts = split_parts(kind, weights)
    except Corrupt as error:
        raise Corrupt(f"{folder}: {error}", file=folder) from error
    if kind == "scorer" and not parts["query"]:
        del parts["query"]
    for part, given in parts.items():
        prefix = PREFIXES[kind][part]
        expected = _expected(part, kind, config, given)
        check_weights(
            {prefix + name: tensor for name, tensor in expected.items()},
            {prefix + name: tensor for name, tensor in given.items()},
            f"the REALM {kind} in {folder}",
        )
    return parts


def _expected(part: Part, kind: Kind, config: ModelConfig, given: Weights) -> Weights:
    module = without_weights(lambda: (Reader if part == "reader" else Encoder)(config))
    expected = to_transformers_names(part, module.state_dict())
    if part != "reader":
        return expected
    # A reader's masked-LM head has no effect in transformers: it may be missing, but whole.
    absent: list[str] = []
    if kind == "encoder":
        absent.append("qa_outputs.")
    elif not any(name.startswith("cls.predictions.") for name in given):
        absent.append("cls.predictions.")
    return {name: tensor for name, tensor in expected.items() if not name.startswith((*absent,))}


def _has_shared_towers(
    parts: Mapping[Part, Weights], config: ModelConfig, values: Mapping[str, Any]
) -> bool:
    """Towers that share their weights are stored twice; two that are equal by chance are ours."""
    query = parts.get("query", parts["passage"])
    equal = all(torch.equal(tensor, query[name]) for name, tensor in parts["passage"].items())
    return equal and (REALM_KEY not in values or config.shared_towers)

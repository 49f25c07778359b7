"""Reads sentence-transformers' Dense modules as the projection of a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from realm.errors import Corrupt, Unsupported
from realm.model.config import Projection, ProjectionActivation
from realm.model.weights import Weights, read_weights

DENSE_FILES = ("model.safetensors", "pytorch_model.bin")
LINEAR = ("Identity", "None", "")


def read_dense(folders: Sequence[Path]) -> tuple[Projection | None, Weights]:
    """The modules in turn as one linear map and its activation; None without modules.

    Linear maps in a row are one: only the last may have an activation.

    :raises Unsupported: if another has one, or the module is more than map and activation.
    :raises Corrupt: if a file is missing or unreadable, or the maps do not fit one another.
    """
    if not folders:
        return None, {}
    activation: ProjectionActivation = ""
    weight = bias = torch.empty(0)
    for number, folder in enumerate(folders):
        if activation:
            raise Unsupported(f"{folder} follows an activation: realm has one Dense map")
        activation = _activation(folder)
        last, last_bias = _map(folder)  # [out, in], [out]
        if number == 0:
            weight, bias = last, last_bias
        elif last.shape[1] != len(bias):
            raise Corrupt(f"{folder} takes {last.shape[1]} numbers, not {len(bias)}", file=folder)
        else:
            weight, bias = last @ weight, last @ bias + last_bias
    projection = Projection(size=len(bias), layer_norm=False, activation=activation)
    return projection, {"dense.weight": weight, "dense.bias": bias}


def _activation(folder: Path) -> ProjectionActivation:
    values = _config(folder)
    names = {values.get(f"module_{end}_name") for end in ("input", "output")}
    if values.get("use_residual") or names - {None, "sentence_embedding"}:
        raise Unsupported(f"{folder} is more than a linear map and an activation")
    name = str(values.get("activation_function", "Tanh")).rpartition(".")[2]
    if name in LINEAR:
        return ""
    for known in get_args(ProjectionActivation):
        if known == name.lower():
            found: ProjectionActivation = known
            return found
    raise Unsupported(f"{folder} has the activation {name}, which realm does not know")


def _map(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [out, in] and bias [out]."""
    file = next((folder / name for name in DENSE_FILES if (folder / name).is_file()), None)
    if file is None:
        raise Corrupt(f"{folder} has neither {' nor '.join(DENSE_FILES)}", file=folder)
    weights = {name.removeprefix("linear."): each for name, each in read_weights(file).items()}
    if "weight" not in weights:
        raise Corrupt(f"{file} has no linear.weight", file=file)
    weight = weights["weight"].float()
    return weight, weights.get("bias", torch.zeros(len(weight))).float()


def _config(folder: Path) -> Any:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Corrupt(f"{folder} has no readable config.json: {error}", file=folder) from error

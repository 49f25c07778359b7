"""Reads and writes tensors without pickle, and builds modules from checked weights."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from realm.errors import Corrupt

Weights = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)

MAX_NAMED_FAULTS = 5  # weights that an error message lists before it only counts


def read_weights(path: Path) -> Weights:
    """Reads `.safetensors`, or a `.bin` without running what it may hold.

    :raises Corrupt: if the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise Corrupt(f"{path} is missing", file=path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        # Memory-mapped: unused parts (a stored index of gigabytes) are never read.
        mapped = zipfile.is_zipfile(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise Corrupt(f"{path} is not a readable weight file: {error}", file=path) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise Corrupt(f"{path} holds something other than named tensors", file=path)
    return dict(loaded)


def write_weights(
    path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Writes float32 safetensors; equal weights give equal bytes."""
    ordered = {k: weights[k].detach().cpu().contiguous() for k in sorted(weights)}
    save_file(ordered, path, metadata)


def build(make: Callable[[], Module], weights: Mapping[str, Tensor], origin: str) -> Module:
    """Makes a module around `weights`, in float32, without initialising what they replace.

    The module owns copies: two towers may be built from one set of weights, and a file may
    be replaced while its weights are in use.

    :raises Corrupt: naming every weight that is missing, not expected or misshapen.
    """
    module = without_weights(make)
    expected = module.state_dict()
    check_weights(expected, weights, origin)
    owned = {name: weights[name].detach().to("cpu", torch.float32, copy=True) for name in expected}
    module.load_state_dict(owned, assign=True)
    return module


class _DrawNothing(TorchFunctionMode):
    """Random numbers on the meta device are none; for them torch would import its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return given["tensor"]
        return func(*args, **given)


def without_weights(make: Callable[[], Module]) -> Module:
    """A module on the meta device: names and shapes alone."""
    with torch.device("meta"), _DrawNothing():
        return make()


def check_weights(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], origin: str) -> None:
    """:raises Corrupt: naming every weight that is missing, not expected or misshapen."""
    faults = [f"{name} is missing" for name in expected if name not in given]
    faults += [f"{name} is not part of the model" for name in given if name not in expected]
    faults += [
        f"{name} has shape {list(given[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    faults += [
        f"{name} has type {tensor.dtype}"
        for name, tensor in given.items()
        if not tensor.is_floating_point()
    ]
    if faults:
        more = (
            f" and {len(faults) - MAX_NAMED_FAULTS} more" if len(faults) > MAX_NAMED_FAULTS else ""
        )
        raise Corrupt(
            f"{origin} does not fit: {'; '.join(faults[:MAX_NAMED_FAULTS])}{more}", origin=origin
        )

"""Where and how a process computes: threads, device, number format."""

from __future__ import annotations

import os
from typing import Literal

import torch

from realm.errors import BadSettings

DeviceSetting = Literal["auto", "cpu", "cuda"]


def set_threads(count: int) -> None:
    """One thread budget for the whole process: torch's kernels and the tokenizer's pool.

    Call it at start: the tokenizer's pool keeps the size that it was made with.

    :raises BadSettings: if `count` is below 1.
    """
    if count < 1:
        raise BadSettings(f"a process needs at least one thread, not {count}")
    torch.set_num_threads(count)
    os.environ["RAYON_NUM_THREADS"] = str(count)


def pick_device(setting: DeviceSetting = "auto") -> torch.device:
    """`auto` takes CUDA where there is one.

    :raises BadSettings: if CUDA is asked for and absent, or the setting is unknown.
    """
    if setting not in ("auto", "cpu", "cuda"):
        raise BadSettings(f"device {setting!r} is not one of auto, cpu, cuda")
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise BadSettings("device cuda is set, but torch finds no CUDA device: set cpu or auto")
    return torch.device("cuda" if available and setting != "cpu" else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it in hardware, else float32.

    Emulated bfloat16 is slower than float32, so support in software does not count.
    """
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float32
    # Private, yet the only name that torch 2.6 to 2.13 share.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32

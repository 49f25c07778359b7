"""Where and how a process computes: threads, device, number format."""

from __future__ import annotations

import os

import torch

from realm.errors import BadSettings


def set_threads(count: int) -> None:
    """One thread budget for the whole process: torch's kernels and the tokenizer's pool.

    Call it at start: the tokenizer's pool keeps the size that it was made with.

    :raises BadSettings: if `count` is below 1.
    """
    if count < 1:
        raise BadSettings(f"a process needs at least one thread, not {count}")
    torch.set_num_threads(count)
    os.environ["RAYON_NUM_THREADS"] = str(count)


def pick_device(setting: str = "auto") -> torch.device:
    """`auto` takes CUDA where there is one; `cuda:1` names one of several.

    :raises BadSettings: if CUDA is asked for and absent, or the setting is unknown.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if setting == "auto":
        return torch.device("cuda" if found else "cpu")
    if setting == "cpu":
        return torch.device("cpu")
    kind, _, number = setting.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise BadSettings(f"device {setting!r} is not one of auto, cpu, cuda, cuda:N")
    if int(number or 0) >= found:
        raise BadSettings(
            f"device {setting} is set, but torch finds {found} CUDA devices: set cpu or auto"
        )
    return torch.device(setting)


def has_amx() -> bool:
    """Whether the processor has units for matrices."""
    # Private, yet the only name that torch 2.6 to 2.13 share.
    return bool(torch.cpu._is_amx_tile_supported())


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it in hardware, else float32.

    Emulated bfloat16 is slower than float32, so support in software does not count.
    """
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float32
    # Private too.
    native = torch.cpu._is_avx512_bf16_supported() or has_amx()
    return torch.bfloat16 if native else torch.float32

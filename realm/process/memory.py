"""What a process keeps in memory, and what it no longer needs."""

from __future__ import annotations

import ctypes
import gc


def keep_imports() -> None:
    """To be called once everything is imported, and before there are models: what is there stays,
    and is never looked through for garbage again. To look through the 300,000 objects of torch and
    the rest, as after each model that is loaded, stops every thread for 0.1 to 0.3 s."""
    gc.freeze()


def give_back() -> None:
    """Returns what was freed to the system. glibc keeps it, to be faster next time: after a model
    was loaded, that is as much as the model. Elsewhere it does nothing but collect."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

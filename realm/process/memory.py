"""What a process keeps in memory, and what it no longer needs."""

from __future__ import annotations

import ctypes
import gc


def keep_imports() -> None:
    """To be called once everything is imported: what is there stays and is never looked through for
    garbage again. A look through the 250,000 objects of torch and the rest stops every thread for
    0.1 to 0.3 s, after each model that is loaded and each time that much was allocated."""
    gc.freeze()


def give_back() -> None:
    """Returns what was freed to the system. glibc keeps it, to be faster next time: after a model
    was loaded, that is as much as the model. Elsewhere it does nothing but collect."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

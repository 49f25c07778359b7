"""Memory that a process no longer needs."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Returns what was freed to the system. glibc keeps it, to be faster next time: after a model
    was loaded, that is as much as the model. Elsewhere it does nothing but collect."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

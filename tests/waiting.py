"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")


def until(
    holds: Callable[[], T | Literal[False] | None],
    what: str = "",
    seconds: float = 90.0,
    log: Callable[[], str] = str,
) -> T:
    """The first true value of `holds`.

    :param log: whose end is shown if none comes within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}\n{log()[-3000:]}")
        time.sleep(0.05)
    return found

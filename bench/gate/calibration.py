"""How much damage costs what was asked for: a gate that sees only ruins proves nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

SEARCHES = 16


def calibrated(cost: Callable[[float], float], least: float, most: float, first: float) -> float:
    """A spread that costs between `least` and `most`, by doubling, halving and bisection from
    `first` on; if costs jump over that, the smallest one tried that costs enough.

    :param cost: of a spread; more of it costs more.
    """
    little, enough = 0.0, math.inf
    spread = first
    for _ in range(SEARCHES):
        found = cost(spread)
        if least <= found <= most:
            return spread
        if found < least:
            little = spread
        else:
            enough = spread
        spread = 2 * little if math.isinf(enough) else (little + enough) / 2
    return spread if math.isinf(enough) else enough

"""Quantiles of latencies, and how sure a ratio of two of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
#: One-sided: the true ratio is above the bound with a chance of one in twenty.
CONFIDENCE = 0.95

#: Latencies of one window of time, in seconds.
Window = Sequence[float]


def quantile(values: Sequence[float], share: float) -> float:
    """NaN without values. The smallest value that `share` of all do not exceed."""
    if not values:
        return float("nan")
    return float(np.quantile(np.asarray(values), share, method="inverted_cdf"))


def ratio_upper_bound(
    treated: Sequence[Window], control: Sequence[Window], share: float, seed: int = 0
) -> float:
    """Upper bound of quantile(treated) / quantile(control), by a bootstrap over whole windows.

    Requests of one window share their fate, so windows are drawn, not requests (the cluster
    bootstrap: Davison and Hinkley 1997, section 3.8). NaN if either side has no value.
    """
    rng = np.random.default_rng(seed)
    sides = [_arrays(treated), _arrays(control)]
    if not all(sides):
        return float("nan")
    ratios = [
        _resampled(sides[0], share, rng) / _resampled(sides[1], share, rng)
        for _ in range(RESAMPLES)
    ]
    return float(np.quantile(ratios, CONFIDENCE, method="inverted_cdf"))


def _arrays(windows: Sequence[Window]) -> list[NDArray[np.float64]]:
    return [np.asarray(window, np.float64) for window in windows if len(window)]


def _resampled(windows: list[NDArray[np.float64]], share: float, rng: np.random.Generator) -> float:
    drawn = rng.integers(0, len(windows), len(windows))
    values = np.concatenate([windows[index] for index in drawn])
    return float(np.quantile(values, share, method="inverted_cdf"))

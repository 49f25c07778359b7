"""The learning rate's course and what else follows from the step alone: pure functions."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["constant", "linear", "cosine", "slanted"]

#: Slanted triangular rates (Howard and Ruder 2018, equation 3): the paper's own constants.
CUT_FRACTION = 0.1
RATIO = 32.0


def warm_up(step: int, warmup_steps: int) -> float:
    """The factor on the learning rate at a step (from 1): linear, then 1."""
    return min(1.0, step / (warmup_steps + 1))


def decay(name: ScheduleName, step: int, warmup_steps: int, total: int) -> float:
    """The factor after the warm-up: from 1 at its end to 0 just after the last step.

    :param total: steps of the whole training; beyond them the factor stays at its last value.
    """
    if name == "constant" or total <= warmup_steps:
        return 1.0
    done = min(max(0, step - 1 - warmup_steps) / (total - warmup_steps), 1 - 1 / total)
    return 1 - done if name == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def slanted_triangular(
    step: int, total: int, cut_fraction: float = CUT_FRACTION, ratio: float = RATIO
) -> float:
    """A short steep rise, a long slow fall to 1/`ratio` (Howard and Ruder 2018, equation 3)."""
    cut = max(1, math.floor(total * cut_fraction))
    t = min(step, total)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_fraction - 1))
    return (1 + max(0.0, p) * (ratio - 1)) / ratio


def rate_factor(name: ScheduleName, step: int, warmup_steps: int, total: int) -> float:
    """The factor on every learning rate at a step (from 1)."""
    if name == "slanted":
        return slanted_triangular(step, total)
    return warm_up(step, warmup_steps) * decay(name, step, warmup_steps, total)


def triangular_share(done: float, warm_up: float, least: float) -> float:
    """The factor when `done` of 1 is done, by whatever clock: linear up, then linear to 0.

    :param warm_up: the share of it that rises.
    :param least: the factor's floor, so that the first step moves too.
    """
    rising = done / warm_up if warm_up > 0 else 1.0
    falling = (1 - done) / (1 - warm_up) if warm_up < 1 else 1.0
    return max(least, min(rising, falling, 1.0))


def unfrozen_layers(step: int, every_steps: int, most: int) -> int:
    """Gradual unfreezing (Howard and Ruder 2018, section 3.3): top layers that learn at a step.

    The first `every_steps` steps teach the top layer and the heads, and each as many after that
    one layer more; 0 for `every_steps` teaches all from the start.
    """
    return min(most, 1 + (step - 1) // every_steps) if every_steps else most


def auxiliary_weight(step: int, start: float, half_life: int) -> float:
    """γ of an auxiliary loss at a step: it halves every `half_life` steps.

    Chronopoulou et al. 2019 (SiATL), section 3.2: an exponentially decaying γ lets the language
    model's loss count at first and the task's in the end.
    """
    return start * math.exp2((1 - step) / half_life)

"""Which objective each step learns by: weights as a setting gives them, drawn by seed and step."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from realm.errors import BadSettings


@dataclass(frozen=True, slots=True)
class Mixture:
    """Objectives with their shares of the steps: positive, and together 1."""

    shares: tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, text: str) -> Mixture:
        """`inverse_cloze=3,masked_lm=1`: a weight each; a name alone has weight 1.

        :raises BadSettings: naming the part without a name, given twice, or no weight.
        """
        weights: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, given = (piece.strip() for piece in part.partition("="))
            if not name:
                raise BadSettings(f"{part!r} names no objective")
            if name in weights:
                raise BadSettings(f"the objective {name} is given twice: add its weights up")
            weights[name] = _weight(given if "=" in part else "1", part)
        total = math.fsum(weights.values())
        if not total:
            raise BadSettings(
                "no objective has a weight: give some, such as inverse_cloze=3,masked_lm=1;"
                " to learn nothing, set REALM_TRAIN to false"
            )
        return cls(tuple((name, one / total) for name, one in weights.items() if one))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shares)

    def at(self, seed: int, step: int, about: str = "objective") -> str:
        """The objective of a step: the same in every run with this seed and these weights.

        :param about: sets draws of one step for different ends apart.
        """
        left = random.Random(f"{seed}:{step}:{about}").random()
        for name, share in self.shares:
            left -= share
            if left < 0:
                return name
        return self.shares[-1][0]

    def only(self, names: frozenset[str]) -> Mixture | None:
        """The same weights over fewer objectives; None if that leaves none."""
        kept = [(name, share) for name, share in self.shares if name in names]
        total = math.fsum(share for _, share in kept)
        return Mixture(tuple((name, share / total) for name, share in kept)) if kept else None


def _weight(given: str, part: str) -> float:
    try:
        weight = float(given)
    except ValueError as error:
        raise BadSettings(f"the weight in {part!r} is no number: give one of 0 or more") from error
    if not (math.isfinite(weight) and weight >= 0):
        raise BadSettings(f"the weight in {part!r} must be a finite number of 0 or more")
    return weight

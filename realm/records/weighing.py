"""How the terms of a generation's passages are weighed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weighing:
    """How BM25 weighs a passage's terms: the mean length that it refers to, in terms, and k₁, the
    number of occurrences that are worth half of the most."""

    average_terms: float
    k1: float

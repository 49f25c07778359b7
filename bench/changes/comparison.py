"""Two collections that should be one: pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.points import Points


@dataclass(frozen=True, slots=True)
class Difference:
    """`missing` and `extra` count ids, `payloads` and `terms` those that differ; `vectors` is
    max |Δ|.
    """

    missing: int
    extra: int
    payloads: int
    terms: int
    vectors: float
    #: The lowest cosine between the two vectors of one passage.
    cosine: float


def difference(found: Points, expected: Points) -> Difference:
    """How `found` differs from `expected`."""
    rows = {each: row for row, each in enumerate(expected.ids)}
    pairs = [(row, rows[each]) for row, each in enumerate(found.ids) if each in rows]
    payloads = sum(found.payloads[mine] != expected.payloads[theirs] for mine, theirs in pairs)
    if not pairs:
        return Difference(len(expected.ids), len(found.ids), 0, 0, float("nan"), float("nan"))
    mine = found.vectors[[pair[0] for pair in pairs]]  # [common, size]
    theirs = expected.vectors[[pair[1] for pair in pairs]]
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    return Difference(
        missing=len(expected.ids) - len(pairs),
        extra=len(found.ids) - len(pairs),
        payloads=payloads,
        terms=sum(found.terms[mine] != expected.terms[theirs] for mine, theirs in pairs),
        vectors=float(np.abs(mine - theirs).max()),
        cosine=float(((mine * theirs).sum(axis=1) / norms).min()),
    )

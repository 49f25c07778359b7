"""Calibrated probabilities: fitted on held-out questions, applied to every answer.

Platt's map p → σ(a · logit p + b) (Platt 1999) for the best answer, with a > 0 so that the more
probable answer stays it; the others keep their proportions, so no order ever changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realm.model.config import AnswerRules

#: Probabilities are cut here, so that their logits are finite.
MIN_PROBABILITY = 1e-6
BINS = 10
STEPS = 100
#: Weight of a prior around the identity: a handful of questions says little.
RIDGE = 1.0
EVIDENCE_RIDGE = 1e-2


def calibrate(shares: Sequence[float], no_answer: float, rules: AnswerRules) -> list[float]:
    """The probabilities of one question's answers, best first, given their shares.

    `shares` and `no_answer` are parts of one softmax, together at most 1. P(no answer) stays; what
    is left of 1 is divided anew. The result has the order of the shares and a sum of at most
    1 − `no_answer`.
    """
    left = 1.0 - no_answer
    if (rules.slope == 1.0 and rules.offset == 0.0) or not shares or left <= 0.0:
        return list(shares)
    best = min(shares[0] / left, 1.0)
    wanted = _platt(best, rules)
    # Where the best gains, the others lose alike; where it loses, all lose alike, and the
    # difference goes to answers that were not found.
    others = (1.0 - wanted) / (1.0 - best) if wanted > best else wanted / best
    return [left * wanted, *(share * others for share in shares[1:])]


def fit(shares: Sequence[float], no_answers: Sequence[float], right: Sequence[bool]) -> AnswerRules:
    """Slope and offset of the greatest likelihood that each question's best answer is right.

    Newton's method on Platt's two parameters; `null` of the result is to be set by the caller.
    Without both right and wrong answers nothing can be said: the identity.
    """
    if len(set(right)) < 2:
        return AnswerRules()
    left = 1.0 - np.asarray(no_answers, np.float64)
    conditional = np.asarray(shares, np.float64) / np.maximum(left, MIN_PROBABILITY)
    logits = _logit(conditional)  # [questions]
    targets = np.asarray(right, np.float64)
    design = np.stack([logits, np.ones_like(logits)], axis=1)  # [questions, 2]
    start = np.array([1.0, 0.0])
    found = start.copy()
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-design @ found))
        gradient = design.T @ (p - targets) + RIDGE * (found - start)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        found = found - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return AnswerRules(slope=max(float(found[0]), 0.05), offset=float(found[1]))


def fit_evidence(
    log_priors: Sequence[NDArray[np.float64]],
    evidence: Sequence[NDArray[np.float64]],
    holds: Sequence[NDArray[np.bool_]],
) -> float:
    """The weight a ≥ 0 of the greatest likelihood of passages that hold an answer: of
    Σ over questions of log Σ_{z holds} softmax(log p(z|x) + a·evidence(z)), each array [k].

    Newton's method, with a ridge around 0. Without a question that tells, 0.
    """
    told = [n for n, held in enumerate(holds) if held.any() and not held.all()]
    weight = 0.0
    for _ in range(STEPS):
        gradient, curvature = EVIDENCE_RIDGE * weight, EVIDENCE_RIDGE
        for n in told:
            logits = log_priors[n] + weight * evidence[n]
            every, right = _mean_and_variance(logits, evidence[n]), holds[n]
            held = _mean_and_variance(logits[right], evidence[n][right])
            gradient += every[0] - held[0]
            # That of the held passages may make it negative: left out, the step is shorter.
            curvature += every[1]
        step = gradient / curvature
        weight = max(0.0, weight - float(np.clip(step, -1.0, 1.0)))
        if abs(step) < 1e-6:
            break
    return weight


def _mean_and_variance(
    logits: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, float]:
    """Of values under the softmax of logits, each [k]."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    mean = float(shares @ values)
    return mean, float(shares @ (values - mean) ** 2)


def expected_calibration_error(
    probabilities: Sequence[float], right: Sequence[bool], bins: int = BINS
) -> float:
    """Mean of |accuracy − confidence| over equally wide bins, weighed by their questions.

    Guo, Pleiss, Sun and Weinberger 2017, eq. 3. 0 without questions.
    """
    p = np.asarray(probabilities, np.float64)
    hit = np.asarray(right, np.float64)
    of = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = [abs(float((hit[of == b] - p[of == b]).sum())) for b in range(bins)]
    return math.fsum(gaps) / max(1, len(p))


def _platt(p: float, rules: AnswerRules) -> float:
    logit = float(_logit(np.float64(p)))
    return 1.0 / (1.0 + math.exp(-(rules.slope * logit + rules.offset)))


def _logit(p: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    kept = np.clip(p, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.asarray(np.log(kept) - np.log1p(-kept))

"""Calibrated probabilities: fitted on held-out questions, applied to every answer.

Platt's map p → σ(a · logit p + b) (Platt 1999) for the best answer, with a > 0 so that the more
probable answer stays it; the others keep their proportions, so no order ever changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from realm.model.config import AnswerRules
from realm.model.relevance import Relevance

#: Probabilities are cut here, so that their logits are finite.
MIN_PROBABILITY = 1e-6
BINS = 10
STEPS = 100
#: s is kept as its logarithm.
LEAST_SCALE = 1e-3
#: Weight of a prior around the identity: a handful of questions says little.
RIDGE = 1.0
WEIGHT_RIDGE = 1e-2


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
    """The weight a ≥ 0 of a reader's evidence beside log p(z|x), see `fit_weights`: each array [k].

    Without a question that tells, 0.
    """
    columns = [each[:, None] for each in evidence]
    return float(fit_weights(columns, holds, np.zeros(1), offsets=log_priors)[0])


def fit_relevance(
    products: Sequence[NDArray[np.float32]],
    words: Sequence[NDArray[np.float32]],
    right: Sequence[NDArray[np.bool_]],
    start: Relevance,
) -> Relevance:
    """s and w of f(x, z), see `fit_weights`: inner products, what w multiplies, and which are
    right, of each question's candidates, each [k]. `start`, where no question tells.
    """
    pairs = zip(products, words, strict=True)
    features = [np.stack(pair, axis=1).astype(np.float64) for pair in pairs]
    begun = np.array([start.scale, start.word_weight])
    scale, word_weight = fit_weights(features, right, begun)
    return replace(start, scale=max(float(scale), LEAST_SCALE), word_weight=float(word_weight))


def fit_weights(
    features: Sequence[NDArray[np.float64]],
    right: Sequence[NDArray[np.bool_]],
    start: NDArray[np.float64],
    *,
    offsets: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """The weights θ ≥ 0 [n] of the greatest likelihood of the right candidates: of
    Σ over questions of log Σ_{z right} softmax(offset + features · θ).

    Newton's method, with a ridge around `start`.

    :param features: of each question's candidates, [k, n].
    :param right: which of them are right, [k]: questions with none or nothing else say nothing.
    :param offsets: what is added to their scores, [k]; None: nothing.
    """
    told = [n for n, own in enumerate(right) if own.any() and not own.all()]
    weights = start.astype(np.float64)
    for _ in range(STEPS):
        gradient, curvature = WEIGHT_RIDGE * (weights - start), WEIGHT_RIDGE * np.eye(len(start))
        for n in told:
            logits = features[n] @ weights + (0.0 if offsets is None else offsets[n])  # [k]
            mean, covariance = _moments(logits, features[n])
            held, _ = _moments(logits[right[n]], features[n][right[n]])
            gradient = gradient + mean - held
            # That of the right ones may make it negative: left out, the step is shorter.
            curvature = curvature + covariance
        step = np.linalg.solve(curvature, gradient)
        wanted = np.maximum(weights - step / max(1.0, float(np.abs(step).max())), 0.0)
        if np.abs(wanted - weights).max() < 1e-6:
            break
        weights = wanted
    return weights


def _moments(
    logits: NDArray[np.float64], features: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [n] and covariance [n, n] of features [k, n] under the softmax of logits [k]."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    mean = shares @ features
    apart = features - mean
    return mean, (apart * shares[:, None]).T @ apart


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

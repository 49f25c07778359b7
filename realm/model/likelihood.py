"""The likelihoods of REALM (Guu et al. 2020) as pure functions of tensors.

Symbols: x query or masked sentence, z passage, y target; k candidates, J targets of one x.
Log-likelihoods are natural, one a row; a loss is their negative mean, which the caller takes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from realm.model.config import Marginal


class Term(NamedTuple):
    """A log-likelihood [b] and whether anything in the row matched [b, bool].

    Where nothing did, the term is 0 and has no gradient.
    """

    log_likelihood: Tensor
    matched: Tensor


def log_prior(scores: Tensor, valid: Tensor | None = None) -> Tensor:
    """log p(z|x) [b, k]: the softmax of f(x, z) over the k candidates alone (section 3.2).

    `scores` must come from the parameters being trained, for query and passages: those of the
    index choose the candidates and never enter here. `valid` False removes a place.
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, -torch.inf)
    return F.log_softmax(scores, dim=-1)


def sequence_log_likelihoods(target_log_probs: Tensor, target_mask: Tensor) -> Tensor:
    """log p(y|z,x) = Σ_j log p(y_j|z,x) (section 3.2): [b, k, J] and [b, J] → [b, k]."""
    return _masked(target_log_probs, target_mask).sum(dim=-1)


def marginal_log_likelihood(
    log_prior: Tensor,
    target_log_probs: Tensor,
    target_mask: Tensor,
    marginal: Marginal = "sequence",
) -> Tensor:
    """log p(y|x) = log Σ_z p(z|x) p(y|z,x) (eq. 1), [b].

    `sequence`: the product over the J targets is inside the sum, as in the paper.
    `token`: Σ_j log Σ_z p(z|x) p(y_j|z,x), as in Google's code and transformers. For J = 1 equal.

    :param log_prior: [b, k]
    :param target_log_probs: log p(y_j|z,x), [b, k, J]
    :param target_mask: True for real targets, [b, J]
    """
    if marginal == "sequence":
        likelihoods = sequence_log_likelihoods(target_log_probs, target_mask)  # [b, k]
        return (log_prior + likelihoods).logsumexp(dim=-1)
    joint = log_prior.unsqueeze(-1) + _masked(target_log_probs, target_mask)  # [b, k, J]
    return joint.logsumexp(dim=1).masked_fill(~target_mask, 0.0).sum(dim=-1)


def retrieval_utility(log_likelihoods: Tensor, null_log_likelihoods: Tensor) -> Tensor:
    """RU(z|x) = log p(y|z,x) − log p(y|∅,x) (eq. 2): [b, k] and [b] → [b, k]."""
    return log_likelihoods - null_log_likelihoods.unsqueeze(-1)


def span_marginal(logits: Tensor, matches: Tensor) -> Term:
    """log p(y|x) of an answer: the share of all matching spans in one softmax over (z, span).

    `logits` [b, ...] are span score + retrieval score f(x, z), −inf where there is no span;
    `matches` (bool, same shape) marks the spans that equal the answer, wherever they are
    (section 3.2; REALM's code: the numerator sums over every match of every passage).
    """
    return _share(logits.flatten(1), matches.flatten(1))


def retriever_answer_marginal(scores: Tensor, contains: Tensor) -> Term:
    """log Σ_{z contains the answer} p(z|x) over a large beam: `scores`, `contains` [b, n].

    The retriever's own term in question answering (ORQA, "early" loss; REALM's code).
    """
    return _share(scores, contains)


def inverse_cloze_loss(scores: Tensor, exclude: Tensor | None = None) -> Tensor:
    """−log p(z_i | x_i) averaged, the other passages of the batch being the negatives (ORQA, ICT).

    `scores` [b, n ≥ b], row i's positive in column i. `exclude` (bool, same shape) removes columns
    that are no true negatives, such as another copy of row i's passage; never the positive.
    """
    rows = torch.arange(len(scores), device=scores.device)
    if exclude is not None:
        negatives = exclude.clone()
        negatives[rows, rows] = False
        scores = scores.masked_fill(negatives, -torch.inf)
    return F.cross_entropy(scores, rows)


def _masked(target_log_probs: Tensor, target_mask: Tensor) -> Tensor:
    return target_log_probs.masked_fill(~target_mask.unsqueeze(1), 0.0)


def _share(scores: Tensor, chosen: Tensor) -> Term:
    """log of the softmax mass of `chosen`, row by row."""
    chosen = chosen & scores.isfinite()
    matched = chosen.any(dim=-1)
    # A row without a match gets harmless numbers: the logarithm of 0 has no gradient, only NaN.
    usable = matched.unsqueeze(-1)
    safe = torch.where(usable, scores, torch.zeros_like(scores))
    picked = torch.where(chosen | ~usable, safe, torch.full_like(safe, -torch.inf))
    return Term(picked.logsumexp(dim=-1) - safe.logsumexp(dim=-1), matched)

"""Every function against brute force in float64, and the gradient against the paper's r(z)."""

import functools
import math

import pytest
import torch
from torch import Tensor

from realm.model.likelihood import (
    inverse_cloze_loss,
    log_prior,
    marginal_log_likelihood,
    retrieval_utility,
    retriever_answer_marginal,
    span_marginal,
)

assert_close = functools.partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def example(seed: int, size: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [b, k], log p(y_j|z,x) [b, k, J], mask of targets [b, J]."""
    b, k, targets = size
    made = torch.Generator().manual_seed(seed)
    scores = 4 * torch.randn(b, k, generator=made, dtype=torch.float64)
    log_probs = -3 * torch.rand(b, k, targets, generator=made, dtype=torch.float64)
    return scores, log_probs, torch.rand(b, targets, generator=made) < 0.7


def prior(scores: list[float]) -> list[float]:
    total = math.fsum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def test_a_removed_candidate_has_no_share_and_no_gradient() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    logs = log_prior(scores, torch.tensor([[True, False, True]]))
    left, right = prior([1.0, 3.0])
    assert logs.exp().tolist()[0] == pytest.approx([left, 0, right])
    log_probs = torch.tensor([[[-1.0], [-2.0], [-3.0]]])
    total = marginal_log_likelihood(logs, log_probs, torch.tensor([[True]])).sum()
    (gradient,) = torch.autograd.grad(total, scores)
    assert gradient.isfinite().all()
    assert gradient[0, 1] == 0
    assert gradient[0, 0] > 0


@pytest.mark.parametrize("marginal", ["sequence", "token"])
def test_what_stands_in_unused_places_has_no_effect(marginal: str) -> None:
    scores, log_probs, _ = example(2, (1, 3, 3))
    mask = torch.tensor([[True, False, False]])
    spoilt = log_probs.clone()
    spoilt[..., 1:] = -torch.inf
    results = [
        marginal_log_likelihood(log_prior(scores), probs, mask, marginal)  # type: ignore[arg-type]
        for probs in (log_probs, spoilt)
    ]
    assert_close(*results)


def test_retrieval_utility_is_zero_for_the_null_document() -> None:
    likelihoods = torch.tensor([[-1.0, -3.0], [-2.0, -0.5]])  # the last candidate is ∅
    utility = retrieval_utility(likelihoods, likelihoods[:, -1])
    assert utility.tolist() == [[2.0, 0.0], [-1.5, 0.0]]


def test_a_row_without_a_match_gives_zero_and_no_gradient() -> None:
    logits = torch.tensor(
        [[1.0, 2.0], [3.0, -torch.inf], [-torch.inf, -torch.inf]], requires_grad=True
    )
    matches = torch.tensor([[False, True], [False, True], [True, True]])
    term = span_marginal(logits, matches)
    assert term.matched.tolist() == [True, False, False]
    assert term.log_likelihood[1:].tolist() == [0.0, 0.0]
    term.log_likelihood.sum().backward()
    assert logits.grad is not None
    assert logits.grad[1:].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert logits.grad[0].tolist() == pytest.approx([-prior([1.0, 2.0])[0], prior([1.0, 2.0])[0]])


def test_retriever_answer_marginal_sums_over_passages_that_contain_the_answer() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5], [1.0, 2.0, 3.0]], dtype=torch.float64)
    contains = torch.tensor([[True, False, True], [False, False, False]])
    term = retriever_answer_marginal(scores, contains)
    shares = prior([1.0, 2.0, 0.5])
    assert term.log_likelihood.tolist() == pytest.approx(
        [math.log(shares[0] + shares[2]), 0.0], abs=1e-9
    )
    assert term.matched.tolist() == [True, False]


def test_inverse_cloze_loss_is_cross_entropy_with_in_batch_negatives() -> None:
    scores = [[1.0, 2.0, -1.0], [0.0, 3.0, 1.0], [0.5, 0.2, 0.1]]
    expected = -sum(math.log(prior(row)[i]) for i, row in enumerate(scores)) / 3
    loss = inverse_cloze_loss(torch.tensor(scores, dtype=torch.float64))
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_inverse_cloze_leaves_out_copies_of_the_positive_but_never_the_positive() -> None:
    scores = torch.tensor([[1.0, 2.0, -1.0], [0.0, 3.0, 1.0]], dtype=torch.float64)
    exclude = torch.tensor([[True, True, False], [False, False, False]])
    expected = -(math.log(prior([1.0, -1.0])[0]) + math.log(prior([0.0, 3.0, 1.0])[1])) / 2
    assert inverse_cloze_loss(scores, exclude).item() == pytest.approx(expected, abs=1e-9)
    assert exclude[0, 0], "the caller's mask is left alone"

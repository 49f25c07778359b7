"""Whole likelihoods through the model, batched and padded, against an enumeration in float64.

The enumeration reads each passage alone, without padding, and adds up probabilities in plain
Python: candidate by candidate, span by span.
"""

import functools
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch import Tensor

from realm.model.base import Base
from realm.model.bert import Bert
from realm.model.checkpoint import Model, new_model
from realm.model.config import Projection
from realm.model.encoders import collate
from realm.model.inputs import Encoded
from realm.model.likelihood import (
    log_prior,
    marginal_log_likelihood,
    span_marginal,
)
from tests.tiny import span_head
from tests.unit.model.conftest import TINY, TINY_SHAPE, WORDS

FIRST_WORD = 5  # after the special tokens
EXACT = functools.partial(pytest.approx, abs=1e-9)

bodies = st.lists(st.integers(FIRST_WORD, len(WORDS) - 1), min_size=1, max_size=9)
questions = st.lists(st.integers(FIRST_WORD, len(WORDS) - 1), min_size=3, max_size=6)
multiples = st.integers(1, 16)  # more columns of padding than the longest input needs


class Targets(NamedTuple):
    places: list[int]  # in the question
    words: list[int]


targets_strategy = st.integers(1, 3).flatmap(
    lambda count: st.builds(
        Targets,
        st.permutations(range(3)).map(lambda places: places[:count]),
        st.lists(st.integers(FIRST_WORD, len(WORDS) - 1), min_size=count, max_size=count),
    )
)


@functools.cache
def exact_model() -> Model:
    """Random weights in float64, with a projection and a scale as REALM has them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        backbone = Bert(TINY_SHAPE, pooler=True).state_dict()
    # Larger than BERT's initial ones: probabilities should be far from uniform.
    backbone = {k: 8 * v if v.dim() == 2 else v for k, v in backbone.items()}
    words = BertWordPieceTokenizer({word: i for i, word in enumerate(WORDS)}).to_str()
    model = new_model(
        Base(TINY, backbone, {}, Tokenizer.from_str(words)),
        pooling="pooler",
        projection=Projection(6),
        scale_init=2.0,
    )
    model.retriever.double().eval()
    model.reader.double().eval()
    return model


def shares(logits: list[float]) -> list[float]:
    highest = max(logits)
    total = math.fsum(math.exp(one - highest) for one in logits)
    return [math.exp(one - highest) / total for one in logits]


def candidates(model: Model, passages: list[list[int]]) -> list[Encoded]:
    """The null document in the first place."""
    return [model.inputs.null_passage(), *(model.inputs.passage([], body) for body in passages)]


def retrieval_scores(
    model: Model, question: list[int], passages: list[Encoded], multiple: int
) -> Tensor:
    query = model.retriever.query(*collate([model.inputs.query_from_ids(question)], 0))
    vectors = model.retriever.passage(*collate(passages, 0, multiple=multiple))
    return model.retriever.score(query, vectors)  # [1, k]


def score_alone(model: Model, question: list[int], passage: Encoded) -> float:
    query = model.retriever.query(*collate([model.inputs.query_from_ids(question)], 0))[0]
    vector = model.retriever.passage(*collate([passage], 0))[0]
    products = (a * b for a, b in zip(query.tolist(), vector.tolist(), strict=True))
    return math.exp(model.retriever.log_scale.item()) * math.fsum(products)


def likelihoods_alone(model: Model, masked: Encoded, targets: Targets) -> list[float]:
    """p(y_j|z,x) of each target."""
    hidden = model.reader.hidden(*collate([masked], 0))
    found = []
    for place, word in zip(*targets, strict=True):
        logits = model.reader.masked_logits(hidden, torch.tensor([[1 + place]]))[0, 0]
        found.append(shares(logits.tolist())[word])
    return found


@torch.no_grad()
@settings(max_examples=30, deadline=None)
@given(questions, st.lists(bodies, min_size=1, max_size=4), targets_strategy, multiples)
def test_masked_words_likelihood_and_its_gradient_equal_enumeration(
    question: list[int], passages: list[list[int]], targets: Targets, multiple: int
) -> None:
    model = exact_model()
    for place in targets.places:
        question = [*question[:place], model.inputs.mask, *question[place + 1 :]]
    retrieved = candidates(model, passages)
    read = [model.inputs.reader(question, body) for body in [[], *passages]]

    scores = retrieval_scores(model, question, retrieved, multiple).requires_grad_()
    hidden = model.reader.hidden(*collate(read, 0, multiple=multiple))
    k = len(read)
    places = 1 + torch.tensor(targets.places).expand(k, -1)
    log_probs = model.reader.target_log_probs(
        hidden, places, torch.tensor(targets.words).expand(k, -1)
    )
    used = torch.ones(1, len(targets.words), dtype=torch.bool)
    with torch.enable_grad():
        prior = log_prior(scores)
        by_sequence = marginal_log_likelihood(prior, log_probs.unsqueeze(0), used, "sequence")
        (gradient,) = torch.autograd.grad(by_sequence.sum(), scores)
        by_token = marginal_log_likelihood(prior, log_probs.unsqueeze(0), used, "token")

    p_z = shares([score_alone(model, question, one) for one in retrieved])
    p_y = [likelihoods_alone(model, one, targets) for one in read]  # by z, then by target
    p_sequence = math.fsum(p * math.prod(of_z) for p, of_z in zip(p_z, p_y, strict=True))
    p_tokens = [
        math.fsum(p * word for p, word in zip(p_z, of_target, strict=True))
        for of_target in zip(*p_y, strict=True)
    ]
    assert by_sequence.item() == EXACT(math.log(p_sequence))
    assert by_token.item() == EXACT(math.fsum(map(math.log, p_tokens)))
    r = [(math.prod(of_z) / p_sequence - 1) * p for p, of_z in zip(p_z, p_y, strict=True)]
    assert gradient[0].tolist() == EXACT(r)
    assert prior.exp()[0, 0].item() == EXACT(p_z[0]), "the null document's share"


def spans_alone(model: Model, read: Encoded, body: list[int]) -> dict[tuple[int, int], float]:
    """The logit of every span of the body, by its first and last place in the body."""
    hidden = model.reader.hidden(*collate([read], 0))[0]
    head = span_head(model)
    start_part, end_part = head.dense_intermediate(hidden).chunk(2, dim=-1)
    first_place = len(read) - 1 - len(body)
    found = {}
    for first in range(len(body)):
        for last in range(first, min(first + TINY.max_span_width, len(body))):
            joined = torch.relu(start_part[first_place + first] + end_part[first_place + last])
            mean, variance = joined.mean(), joined.var(unbiased=False)
            normed = (joined - mean) / (variance + 1e-3).sqrt()
            norm = head.layer_normalization
            logit = head.dense_output(normed * norm.weight + norm.bias)
            found[first, last] = float(logit)
    return found


@torch.no_grad()
@settings(max_examples=30, deadline=None)
@given(
    questions,
    st.lists(st.lists(st.integers(5, 7), max_size=8), min_size=1, max_size=4),
    st.lists(st.integers(5, 7), min_size=1, max_size=3),
    multiples,
)
def test_an_answers_likelihood_equals_the_sum_over_every_span_of_every_passage(
    question: list[int], passages: list[list[int]], answer: list[int], multiple: int
) -> None:
    model = exact_model()
    retrieved = [model.inputs.passage([], body) for body in passages]
    read = [model.inputs.reader(question, body) for body in passages]

    scores = retrieval_scores(model, question, retrieved, multiple)  # [1, k]
    ids, segments, mask = collate(read, 0, multiple=multiple)
    logits = model.reader(ids, segments, mask).logits + scores[0, :, None, None]
    matches = torch.zeros_like(logits, dtype=torch.bool)
    width = len(answer) - 1
    for start in range(ids.shape[1] - width):
        matches[:, start, width] = (ids[:, start : start + width + 1] == torch.tensor(answer)).all(
            1
        )
    term = span_marginal(logits.unsqueeze(0), matches.unsqueeze(0))

    everything, matching = [], []
    for passage, one, body in zip(retrieved, read, passages, strict=True):
        score = score_alone(model, question, passage)
        for (first, last), logit in spans_alone(model, one, body).items():
            everything.append(math.exp(score + logit))
            if body[first : last + 1] == answer:
                matching.append(everything[-1])
    assert term.matched.item() == bool(matching)
    expected = math.log(math.fsum(matching) / math.fsum(everything)) if matching else 0.0
    assert term.log_likelihood.item() == EXACT(expected)


@torch.no_grad()
@settings(max_examples=20, deadline=None)
@given(st.lists(bodies, max_size=5), multiples)
def test_the_null_document_has_one_vector_in_every_batch(
    passages: list[list[int]], multiple: int
) -> None:
    model = exact_model()
    cls, sep = model.inputs.cls, model.inputs.sep
    alone = model.retriever.passage(
        torch.tensor([[cls, sep, sep]]), torch.tensor([[0, 0, 1]]), torch.ones(1, 3).bool()
    )
    batch = collate(candidates(model, passages), model.inputs.pad, multiple=multiple)
    assert model.retriever.passage(*batch)[0].tolist() == EXACT(alone[0].tolist())

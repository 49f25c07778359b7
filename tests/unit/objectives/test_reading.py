"""Supervised reading: the loss against what serving answers, spans against brute force."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import InvalidInput
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import Model
from realm.model.config import AnswerRules
from realm.model.inputs import ReaderInput
from realm.objectives.reading import ReaderLoss, ReadingExample, answer_spans
from realm.text.questions import normalise_answer
from tests.tiny import eiffel_model

QUESTION = "who built the tower"
PASSAGES = (
    "The Eiffel Tower is in Paris.",
    "A river, the Seine, is in Paris; the tower is not in it.",
    "paris!",
)
SCORES = (2.0, 1.25, -0.5)
MODEL = eiffel_model()
MODEL.reader.eval()
WIDTHS = MODEL.config.max_span_width


def reader_loss(
    reader_tokens: int = 96, token_budget: int | None = None, null: bool = False
) -> ReaderLoss:
    return ReaderLoss(
        MODEL.inputs,
        max_span_width=WIDTHS,
        reader_tokens=reader_tokens,
        token_budget=token_budget,
        null=null,
    )


def example(*answers: str, passages: tuple[str, ...] = PASSAGES) -> ReadingExample:
    return ReadingExample(QUESTION, answers, passages, SCORES[: len(passages)])


def loss_of(objective: ReaderLoss, *examples: ReadingExample, model: Model = MODEL) -> torch.Tensor:
    return objective.loss(objective.batch(examples, random.Random(0)), model.reader).value


@pytest.mark.parametrize("answer", ["Paris", "the Eiffel Tower", "seine", "is"])
def test_loss_is_minus_the_log_of_the_probability_that_serving_gives(answer: str) -> None:
    priors = torch.log_softmax(torch.tensor(SCORES), 0).tolist()
    reading = Reading(QUESTION, PASSAGES, tuple(priors), answers=10_000)
    (served,) = answer_questions(MODEL.reader, MODEL.inputs, [reading])
    found = {normalise_answer(one.text): one.probability for one in served.found}
    expected = -math.log(found[normalise_answer(answer)])
    assert loss_of(reader_loss(), example(answer)).item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("answers", [("Paris",), ("river", "seine"), ()])
@pytest.mark.parametrize("budget", [None, 1])
def test_loss_with_the_null_document_is_that_of_serving(
    answers: tuple[str, ...], budget: int | None
) -> None:
    model = eiffel_model()
    model.reader.answers = AnswerRules(null=True)
    priors = torch.log_softmax(torch.tensor(SCORES), 0).tolist()
    reading = Reading(QUESTION, PASSAGES, tuple(priors), answers=10_000)
    (served,) = answer_questions(model.reader.eval(), MODEL.inputs, [reading])
    found = {normalise_answer(one.text): one.probability for one in served.found}
    expected = sum(found[answer] for answer in map(normalise_answer, answers))
    objective = reader_loss(token_budget=budget, null=True)
    # Beside one of fewer passages: each has its own null document.
    other = example("tower", passages=PASSAGES[:1])
    alone = loss_of(objective, other).item()
    both = 2 * loss_of(objective, other, example(*answers)).item()
    assert both - alone == pytest.approx(-math.log(expected or served.no_answer), abs=2e-3)


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("budget", [None, 1])
def test_a_head_for_passages_learns_which_hold_an_answer(null: bool, budget: int | None) -> None:
    model = eiffel_model(passage_scores=True)
    head = model.reader.eval().passage_scores
    assert head is not None
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    reading = Reading(
        QUESTION, PASSAGES, tuple(torch.log_softmax(torch.tensor(SCORES), 0).tolist())
    )
    (served,) = answer_questions(model.reader, MODEL.inputs, [reading])
    objective = reader_loss(token_budget=budget, null=null)
    scores = torch.tensor(SCORES) + torch.tensor(served.added)
    shares = torch.softmax(scores, 0)
    for answers, holding in ((("river",), [1]), (("seine", "eiffel"), [0, 1]), (("paris",), [])):
        more = loss_of(objective, example(*answers), model=model) - loss_of(
            objective, example(*answers)
        )
        # "paris" stands in all three: no order of them is better than another.
        expected = -math.log(shares[holding].sum()) if holding else 0.0
        assert more.item() == pytest.approx(expected, abs=2e-3)


def test_no_answer_teaches_a_head_for_passages_nothing() -> None:
    model = eiffel_model(passage_scores=True)
    model.reader.eval()
    objective = reader_loss(null=True)
    plain, with_head = (loss_of(objective, example(), model=each) for each in (MODEL, model))
    assert with_head.item() == pytest.approx(plain.item(), abs=1e-5)


def test_the_order_of_passages_teaches_the_reader_and_not_the_retriever() -> None:
    model = eiffel_model(passage_scores=True)
    model.reader.eval()
    objective = reader_loss()
    (task,) = objective.batch([example("river")], random.Random(0))
    scores = [torch.tensor(SCORES, requires_grad=True) for _ in range(2)]
    for each, own in zip(scores, (model, MODEL), strict=True):
        objective.log_likelihoods([task], own.reader, [each]).sum().backward()
    torch.testing.assert_close(scores[0].grad, scores[1].grad)
    head = model.reader.passage_scores
    assert head is not None
    assert head.weight.grad is not None
    assert head.weight.grad.abs().max() > 0


def test_only_the_null_document_can_teach_that_there_is_no_answer() -> None:
    plain, null = reader_loss(), reader_loss(null=True)
    assert plain.batch([example()], random.Random(0)) == []
    assert plain.skipped == {"empty_answer": 1}
    (task,) = null.batch([example()], random.Random(0))
    assert task.unanswerable
    # An answer that no passage holds is no example in saying so: the answers may be incomplete.
    assert null.batch([example("Rome")], random.Random(0)) == []
    assert null.skipped == {"no_answer_span": 1}


def test_loss_is_a_mean_that_no_batching_changes() -> None:
    examples = [example("Paris"), example("river"), example("tower", passages=PASSAGES[:2])]
    each = [loss_of(reader_loss(), one).item() for one in examples]
    for budget in (1, 60, 10_000):
        together = loss_of(reader_loss(token_budget=budget), *examples).item()
        assert together == pytest.approx(sum(each) / 3, rel=1e-5)


def test_what_teaches_nothing_is_left_out_and_counted() -> None:
    objective = reader_loss()
    long = example("Eiffel Tower is in Paris the tower")  # wider than the reader's spans
    examples = [example("Rome"), example("the", "!"), example("ari"), long, example("Paris")]
    assert len(objective.batch(examples, random.Random(0))) == 1
    assert objective.skipped == {"no_answer_span": 3, "empty_answer": 1}
    with pytest.raises(InvalidInput, match="without a task"):
        objective.loss([], MODEL.reader)
    with pytest.raises(InvalidInput, match="1 scores do not fit 2 passages"):
        ReadingExample(QUESTION, ("x",), ("a", "b"), (1.0,))


PIECES = (
    "the",
    "The",
    "a",
    "an",
    "tower",
    "Paris",
    "in",
    "U.S.",
    "A-1",
    "it's",
    "—",
    "(",
    "\u200b",
)
words = st.sampled_from(PIECES)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=14), st.lists(words, min_size=1, max_size=4))
def test_answer_spans_are_all_that_read_the_answer_and_no_others(
    told: list[str], wanted: list[str]
) -> None:
    text, answers = " ".join(told), {normalise_answer(" ".join(wanted))} - {""}
    body = ReaderInput.build(MODEL.inputs, QUESTION, text)
    expected = np.zeros_like(body.whole_words(WIDTHS))
    for start, width in np.argwhere(body.whole_words(WIDTHS)):
        read = text[body.offsets[start, 0] : body.offsets[start + width, 1]]
        expected[start, width] = normalise_answer(read) in answers
    assert (answer_spans(text, body, answers, WIDTHS) == expected).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70), st.integers(0, 70), st.integers(20, 60), st.integers(0, 9))
def test_a_window_keeps_an_answer_and_the_length(
    before: int, after: int, reader_tokens: int, seed: int
) -> None:
    text = " ".join([*["in"] * before, "Paris", *["tower"] * after])
    task = example("paris", passages=(text,))
    (made,) = reader_loss(reader_tokens).batch([task], random.Random(seed))
    assert made.matches[0].sum() == 1
    assert len(made.bodies[0].encoded) <= reader_tokens
    if before + 1 + after + 7 <= reader_tokens:  # [CLS], four words, [SEP], [SEP]
        assert len(made.bodies[0].offsets) == before + after + 1

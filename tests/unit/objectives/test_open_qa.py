"""The two terms of open-domain QA against an enumeration, and which questions are learnt from."""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.documents import is_held_out
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.objectives.open_qa import OpenQA, QAExample
from realm.objectives.reading import ReaderLoss
from realm.objectives.sources import Questions
from realm.text.questions import Question
from tests.tiny import span_head
from tests.unit.model.test_brute_force import exact_model, score_alone, shares, spans_alone
from tests.unit.objectives.searches import (
    ListedSearch,
    few_texts,
    holds,
    ids_of,
    minus_log_share,
    texts,
    words,
    words_of,
)

EXACT = functools.partial(pytest.approx, abs=1e-9)
HELD_OUT = next(name for name in map("document-{}".format, range(99)) if is_held_out(name))
answers = st.lists(words, min_size=1, max_size=2).map(" ".join)


def make(
    search: ListedSearch,
    questions: Sequence[Question],
    *,
    batch_size: int = 1,
    beam: int = 5000,
    read: int = 5,
    null: bool = False,
) -> OpenQA:
    model = exact_model()
    width = model.config.max_span_width
    reading = ReaderLoss(model.inputs, max_span_width=width, reader_tokens=48, null=null)
    return OpenQA(
        model.inputs,
        Questions(questions),
        search,
        reading,
        batch_size=batch_size,
        beam=beam,
        read=read,
    )


def batch_of(objective: OpenQA, seed: int = 0) -> list[QAExample]:
    return objective.batch(iter(()), random.Random(seed))


def null_alone(model: Model, asked: list[int]) -> float:
    """The score of the empty span: start and end both at [CLS]."""
    head = span_head(model)
    hidden = model.reader.hidden(*collate([model.inputs.reader(asked, [])], 0))[0, 0]
    start, end = (head.dense_intermediate(hidden)).chunk(2)
    return float(head.dense_output(head.layer_normalization(torch.relu(start + end))))


def by_enumeration(
    model: Model,
    question: str,
    passages: Sequence[str],
    answer: str,
    read: int,
    *,
    null: bool = False,
) -> float:
    """Both terms, passage by passage and span by span, each alone and without padding."""
    asked = ids_of(question)
    weight = model.retriever.word_weight.item()
    scores = [
        score_alone(model, asked, model.inputs.passage([], ids_of(z))) + weight * words_of(place)
        for place, z in enumerate(passages)
    ]
    loss = minus_log_share(scores, [holds(z, answer) for z in passages])
    logits, matching = [], []
    priors = scores[:read]
    if null:
        priors = [math.log(share * len(priors) / (len(priors) + 1)) for share in shares(priors)]
        logits.append(null_alone(model, asked) - math.log(len(priors) + 1))
        matching.append(not any(holds(text, answer) for text in passages[:read]))
    for score, text in zip(priors, passages[:read], strict=True):
        body = ids_of(text)
        spans = spans_alone(model, model.inputs.reader(asked, body), body)
        for (first, last), logit in spans.items():
            logits.append(score + logit)
            matching.append(text.split()[first : last + 1] == answer.split())
    return loss + minus_log_share(logits, matching)


@settings(max_examples=40, deadline=None)
@given(texts, few_texts, answers, st.integers(1, 5), st.integers(1, 6))
def test_loss_equals_the_enumeration_of_both_terms(
    question: str, passages: list[str], answer: str, read: int, beam: int
) -> None:
    model = exact_model()
    objective = make(
        ListedSearch(model, passages), [Question(question, (answer,))], beam=beam, read=read
    )
    if not any(holds(text, answer) for text in passages[:beam]):
        with pytest.raises(NotReady, match="an answer to none of the questions"):
            batch_of(objective)
        return
    with torch.no_grad():
        loss = objective.loss(batch_of(objective), model)
        expected = by_enumeration(model, question, passages[:beam], answer, read)
    assert loss.value.item() == EXACT(expected)
    assert loss.figures["loss"] == EXACT(expected)


@settings(max_examples=20, deadline=None)
@given(texts, few_texts, words, st.integers(1, 5))
def test_a_reader_that_knows_no_answer_learns_to_say_so_where_there_is_none(
    question: str, passages: list[str], answer: str, read: int
) -> None:
    model = exact_model()
    passages = [*passages, answer]  # in the beam, if not among those read
    objective = make(
        ListedSearch(model, passages), [Question(question, (answer,))], read=read, null=True
    )
    loss = objective.loss(batch_of(objective), model)
    with torch.no_grad():
        expected = by_enumeration(model, question, passages, answer, read, null=True)
    assert loss.value.item() == EXACT(expected)
    assert loss.figures["reader_matched"] == 1
    model.retriever.zero_grad()
    loss.value.backward()


@torch.no_grad()
def test_loss_is_a_mean_over_the_questions() -> None:
    model = exact_model()
    passages = ["she wrote it", "who did it", "in it she did", "it"]
    asked = [Question("who wrote it", ("she",)), Question("she did", ("who did", "in it"))]
    together = make(ListedSearch(model, passages), asked, batch_size=2)
    alone = [
        make(ListedSearch(model, passages), [one]).loss(
            batch_of(make(ListedSearch(model, passages), [one])), model
        )
        for one in asked
    ]
    loss = together.loss(batch_of(together), model).value.item()
    assert loss == EXACT(sum(one.value.item() for one in alone) / 2)


@pytest.mark.parametrize("null", [False, True])
def test_an_expression_teaches_the_retriever_alone(null: bool) -> None:
    model = exact_model()
    pattern = re.compile("sh. wr", re.IGNORECASE)
    passages = ListedSearch(model, ["it", "she wrote"])
    objective = make(passages, [Question("who", (), pattern)], read=1, null=null)
    loss = objective.loss(batch_of(objective), model)
    assert loss.figures["retriever_matched"] == 1
    assert loss.figures["reader_matched"] == 0


def test_the_weight_of_words_learns_from_what_words_say_of_the_answers() -> None:
    model = exact_model()
    asked = [Question("who wrote it", ("she",))]
    # The second passage has the higher BM25 score, and holds the answer; then the first does.
    for passages, up in ((["it did", "she did"], True), (["she did", "it did"], False)):
        objective = make(ListedSearch(model, passages), asked, beam=2, read=2)
        model.retriever.zero_grad()
        objective.loss(batch_of(objective), model).value.backward()
        gradient = model.retriever.word_weight.grad
        assert gradient is not None
        assert (float(gradient) < 0) == up


def test_queries_learn_and_the_indexed_passages_rest() -> None:
    """With towers of their own nothing flows into the passage encoder; both terms reach x."""
    model = exact_model()
    asked = [Question("who wrote it", ("she",))]
    for read, passages in ((2, ["it", "did it", "she did"]), (3, ["she did", "she", "she in"])):
        objective = make(ListedSearch(model, passages), asked, read=read)
        batch = batch_of(objective)
        assert not batch[0].vectors.requires_grad
        model.retriever.zero_grad()
        objective.loss(batch, model).value.backward()
        gradients = [p.grad for p in model.retriever.query.parameters() if p.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
    # In the second index every passage holds the answer: its gradient came by the reader alone.


def test_held_out_documents_are_neither_asked_about_nor_found() -> None:
    model = exact_model()
    asked = [
        Question("who wrote it", ("she",), None, HELD_OUT),
        Question("who did it", ("she",), None, "document-2"),
        Question("who knows", (), None, "document-2"),
    ]
    objective = make(ListedSearch(model, ["she"]), asked)
    assert objective.skipped == {"held_out": 1, "no_answer_text": 1}
    for seed in range(5):
        (one,) = batch_of(objective, seed)
        assert one.query == model.inputs.query("who did it")
    hidden = make(ListedSearch(model, ["she"], HELD_OUT), asked)
    with pytest.raises(NotReady):
        batch_of(hidden)
    assert hidden.skipped["held_out_candidate"] > 0


def test_questions_without_an_answer_are_drawn_over() -> None:
    model = exact_model()
    good = Question("who wrote it", ("she",))
    asked = [good, *(Question(f"who {word}", ("in did",)) for word in ("wrote", "it", "she"))]
    objective = make(ListedSearch(model, ["she", "it"]), asked)
    found = [batch_of(objective, seed)[0] for seed in range(6)]
    assert {tuple(one.query.ids) for one in found} == {
        tuple(model.inputs.query("who wrote it").ids)
    }
    assert objective.skipped["answer_not_found"] > 0

"""The loop around the reader's objective: what learns, at what rate, and when it ends."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from realm.errors import Diverged
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.checkpoint import Model
from realm.model.config import AnswerRules
from realm.objectives.reading import EncodedExample, ReaderLoss, ReadingExample
from realm.recipes.reader import ReaderPlan, ReaderStep, learnable_parameters, train_reader
from realm.recipes.reading_examples import QuestionExamples, Scored
from realm.text.questions import Question
from tests.tiny import eiffel_model, span_head

NAMES = ("river", "tower", "paris", "eiffel")
EXAMPLES = [
    QuestionExamples(
        Question(f"who built {i}", (name,)),
        own=(Scored(f"the {name} built {i}.", 2.0),),
        negatives=(Scored(f"in {i} is a {NAMES[i - 1]}.", 1.0), Scored("is a who.", 0.5)),
    )
    for i, name in enumerate(NAMES)
]
PLAN = ReaderPlan(
    epochs=30,
    batch=2,
    learning_rate=3e-3,
    head_learning_rate=1e-2,
    max_span_width=5,
    dropout=0,
)


def train(model: Model, plan: ReaderPlan = PLAN) -> list[ReaderStep]:
    objective = ReaderLoss(model.inputs, max_span_width=5, reader_tokens=plan.reader_tokens)
    steps: list[ReaderStep] = []
    last = train_reader(model.reader, objective, EXAMPLES, plan, on_step=steps.append)
    assert not steps or last == steps[-1]
    return steps


def test_loss_falls_over_the_planned_steps() -> None:
    steps = train(eiffel_model())
    assert [step.number for step in steps] == list(range(1, 61))
    assert {step.planned for step in steps} == {60}
    first, last = ([step.loss for step in part] for part in (steps[:6], steps[-6:]))
    assert sum(last) < sum(first) / 2


def test_a_head_for_passages_comes_to_put_the_answering_one_first() -> None:
    """f(x, z) prefers the wrong passage in every example."""
    examples = [
        replace(one, own=(replace(one.own[0], score=0.0),), negatives=one.negatives[:1])
        for one in EXAMPLES
    ]
    model = eiffel_model(passage_scores=True)
    objective = ReaderLoss(model.inputs, max_span_width=5, reader_tokens=96)
    train_reader(model.reader, objective, examples, PLAN)
    for one in examples:
        passages = (*one.own, *one.negatives)
        texts, scores = (tuple(getattr(each, of) for each in passages) for of in ("text", "score"))
        reading = Reading(one.question.question, texts, (0.0,) * len(texts))
        (read,) = answer_questions(model.reader, model.inputs, [reading])
        ranked = [score + more for score, more in zip(scores, read.added, strict=True)]
        assert ranked[0] > ranked[1]


def test_word_embeddings_and_masked_lm_head_rest() -> None:
    model, untouched = eiffel_model(), eiffel_model().reader.state_dict()
    train(model)
    names = set(learnable_parameters(model.reader))
    for name, tensor in model.reader.state_dict().items():
        assert torch.equal(tensor, untouched[name]) == (name not in names), name
    assert not any(n.startswith(("predictions.", "backbone.embeddings.word_")) for n in names)
    assert "qa_outputs.dense_output.weight" in names


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    plan = ReaderPlan(epochs=2, batch=2, max_span_width=5, dropout=0)
    one, same, other = eiffel_model(), eiffel_model(), eiffel_model()
    losses = [step.loss for step in train(one, plan)]
    assert losses == [step.loss for step in train(same, plan)]
    assert losses != [
        step.loss for step in train(other, ReaderPlan(epochs=2, batch=2, max_span_width=5, seed=1))
    ]
    again = same.reader.state_dict()
    assert all(torch.equal(t, again[name]) for name, t in one.reader.state_dict().items())


def test_cloze_lessons_fade() -> None:
    seen: list[int] = []

    class Counting(ReaderLoss):
        def batch(
            self, examples: Sequence[ReadingExample], rng: random.Random
        ) -> list[EncodedExample]:
            seen.append(sum(example.question.startswith("what") for example in examples))
            return super().batch(examples, rng)

    cloze = [
        QuestionExamples(
            Question("what built?", ("river",)), (Scored("the river built.", 1.0),), ()
        )
    ]
    plan = ReaderPlan(epochs=10, batch=4, max_span_width=5, cloze=1.5, dropout=0)
    model = eiffel_model()
    objective = Counting(model.inputs, max_span_width=5, reader_tokens=96)
    train_reader(model.reader, objective, EXAMPLES, plan, cloze=cloze)
    assert seen[0] == 6
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] <= 1
    without = Counting(model.inputs, max_span_width=5, reader_tokens=96)
    seen.clear()
    train_reader(model.reader, without, EXAMPLES, plan)
    assert set(seen) == {0}


def test_dropout_is_on_while_it_learns_and_off_afterwards() -> None:
    model = eiffel_model()
    before = torch.random.get_rng_state()
    losses = [step.loss for step in train(model, ReaderPlan(epochs=2, batch=4, max_span_width=5))]
    other = ReaderPlan(epochs=2, batch=4, max_span_width=5, dropout=0)
    assert losses != [step.loss for step in train(eiffel_model(), other)]
    assert not any(module.training for module in model.reader.modules())
    assert all(
        layer.get_submodule("attention.self").fused for layer in model.reader.backbone.layers
    )
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_share_without_answers_teaches_to_say_so() -> None:
    model = eiffel_model()
    rules = AnswerRules(null=True)
    examples = [replace(one, empty=one.negatives[1:]) for one in EXAMPLES]
    plan = replace(PLAN, no_answer=0.5, epochs=60)
    objective = ReaderLoss(model.inputs, max_span_width=5, reader_tokens=96, null=True)
    train_reader(model.reader, objective, examples, plan)
    model.reader.answers = rules
    readings = [
        Reading(one.question.question, (passage.text,), (0.0,))
        for one in examples
        for passage in (*one.own, *one.empty)
    ]
    answers = answer_questions(model.reader, model.inputs, readings)
    own, empty = answers[::2], answers[1::2]
    assert max(one.no_answer for one in own) < 0.5 < min(one.no_answer for one in empty)
    assert all(one.abstains and one.given == () for one in empty)


def test_threads_change_nothing_but_rounding() -> None:
    plan = ReaderPlan(epochs=3, batch=4, max_span_width=5, dropout=0)
    threads = torch.get_num_threads()
    losses = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            losses.append([step.loss for step in train(eiffel_model(), plan)])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == pytest.approx(losses[0], abs=1e-4)


def test_no_step_begins_after_the_limit() -> None:
    assert train(eiffel_model(), ReaderPlan(seconds=1e-9)) == []


def test_what_is_not_finite_stops_training() -> None:
    model = eiffel_model()
    with torch.no_grad():
        span_head(model).dense_output.bias.fill_(math.nan)
    with pytest.raises(Diverged, match="loss of reading at step 1"):
        train(model)

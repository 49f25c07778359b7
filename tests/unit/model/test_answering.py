"""Answers against a slow and plain reckoning of the same formula."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
import torch

from realm.errors import InvalidInput
from realm.model.answering import FoundAnswer, Reading, answer_questions
from realm.model.checkpoint import Model
from realm.model.encoders import collate
from realm.scoring import normalise_answer
from tests.unit.gateway.tiny import tiny_model

QUESTION = "who built the tower"
PASSAGES = (
    "The Eiffel Tower is in Paris.",
    "A river, the Seine, is in Paris; the tower is not in it.",
    "paris!",
)
PRIORS = (math.log(0.5), math.log(0.3), math.log(0.2))


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def find(model: Model, *readings: Reading) -> list[list[FoundAnswer]]:
    return answer_questions(model.reader.eval(), model.inputs, readings)


def brute_force(model: Model, reading: Reading) -> dict[str, float]:
    """p(y|x) of every normalised text, one passage and one span at a time."""
    mass: dict[str, float] = defaultdict(float)
    total = 0.0
    for text, prior in zip(reading.passages, reading.log_priors, strict=True):
        ids, offsets = model.inputs.tokenize(text)
        question, _ = model.inputs.tokenize(reading.question)
        encoded = model.inputs.reader(question, ids)
        with torch.inference_mode():
            logits = model.reader.eval()(*collate([encoded], model.inputs.pad)).logits[0]
        for i in range(len(ids)):
            for j in range(i, min(len(ids), i + model.config.max_span_width)):
                pieces = [model.inputs.tokenizer.id_to_token(each) for each in [*ids, 0]]
                if pieces[i].startswith("##") or pieces[j + 1].startswith("##"):
                    continue
                weight = math.exp(float(logits[len(question) + 2 + i, j - i]) + prior)
                total += weight
                mass[normalise_answer(text[offsets[i][0] : offsets[j][1]])] += weight
    return {text: weight / total for text, weight in mass.items() if text}


def test_probabilities_equal_the_plain_sum_over_passages_and_spans(model: Model) -> None:
    reading = Reading(QUESTION, PASSAGES, PRIORS, answers=1000)
    expected = brute_force(model, reading)
    (answers,) = find(model, reading)
    found = {normalise_answer(answer.text): answer.probability for answer in answers}
    assert len(found) == len(answers)
    for text, probability in expected.items():
        assert found.get(text, 0.0) == pytest.approx(probability, abs=2e-5)
    probabilities = [answer.probability for answer in answers]
    assert probabilities == sorted(probabilities, reverse=True)


def test_supports_point_at_the_text_in_their_passages(model: Model) -> None:
    (answers,) = find(model, Reading(QUESTION, PASSAGES, PRIORS, answers=1000))
    by_text = {normalise_answer(answer.text): answer for answer in answers}
    assert {support.passage for support in by_text["paris"].supports} == {0, 1, 2}
    for answer in answers:
        assert (
            PASSAGES[answer.supports[0].passage][answer.supports[0].start : answer.supports[0].end]
            == answer.text
        )
        for support in answer.supports:
            where = PASSAGES[support.passage][support.start : support.end]
            assert normalise_answer(where) == normalise_answer(answer.text)
            assert support.prior == pytest.approx(math.exp(PRIORS[support.passage]))
            assert 0 < support.likelihood <= 1


def test_likelihoods_are_a_distribution_within_each_passage(model: Model) -> None:
    (answers,) = find(model, Reading(QUESTION, ("river tower paris",), (0.0,), answers=1000))
    assert sum(answer.supports[0].likelihood for answer in answers) == pytest.approx(1, abs=1e-4)
    for answer in answers:
        assert answer.supports[0].likelihood == pytest.approx(answer.probability, abs=1e-4)


def test_spans_are_whole_words(model: Model) -> None:
    text = "zyxwv tower qrs"  # the unknown words are five and three pieces
    (answers,) = find(model, Reading(QUESTION, (text,), (0.0,), answers=1000))
    assert {answer.text for answer in answers} == {"zyxwv", "tower", "qrs", "tower qrs"}


def test_word_cut_by_the_readers_length_is_no_answer(model: Model) -> None:
    limit = model.inputs.limits.reader - len(model.inputs.tokenize(QUESTION)[0]) - 3
    text = " ".join(["tower"] * (limit - 1)) + " qrs"  # its first piece alone fits
    assert len(model.inputs.tokenize(text)[0]) == limit + 2
    (answers,) = find(model, Reading(QUESTION, (text,), (0.0,), answers=1000))
    assert answers
    assert all("q" not in answer.text for answer in answers)


def test_batching_changes_no_answer(model: Model) -> None:
    one = Reading(QUESTION, PASSAGES, PRIORS, answers=3)
    two = Reading("who is in the river", PASSAGES[1:], (math.log(0.9), math.log(0.1)), answers=2)
    together = answer_questions(model.reader.eval(), model.inputs, [one, two], token_budget=40)
    for found, alone in zip(together, [*find(model, one), *find(model, two)], strict=True):
        assert [each.text for each in found] == [each.text for each in alone]
        for left, right in zip(found, alone, strict=True):
            assert left.probability == pytest.approx(right.probability, abs=1e-5)


def test_prior_decides_between_equal_passages(model: Model) -> None:
    (answers,) = find(
        model, Reading(QUESTION, ("paris", "paris"), (math.log(0.25), math.log(0.75)))
    )
    assert answers[0].probability == pytest.approx(1)
    assert [support.passage for support in answers[0].supports] == [1, 0]


@pytest.mark.parametrize("passages", [(), ("",), ("the", "!")])
def test_nothing_readable_gives_no_answer(model: Model, passages: tuple[str, ...]) -> None:
    assert find(model, Reading(QUESTION, passages, (0.0,) * len(passages))) == [[]]


def test_no_questions_give_no_answers(model: Model) -> None:
    assert find(model) == []


def test_probabilities_must_fit_the_passages() -> None:
    with pytest.raises(InvalidInput, match="2 passages"):
        Reading("x", ("a", "b"), (0.0,))

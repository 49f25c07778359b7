"""Answers against a slow and plain reckoning of the same formula."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import InvalidInput
from realm.model.answering import answer_questions, with_null_document
from realm.model.answers import FoundAnswer, Reading
from realm.model.checkpoint import Model
from realm.model.config import AnswerRules
from realm.model.encoders import collate
from realm.model.inputs import ReaderInput
from realm.text.questions import normalise_answer
from tests.tiny import eiffel_model

QUESTION = "who built the tower"
PASSAGES = (
    "The Eiffel Tower is in Paris.",
    "A river, the Seine, is in Paris; the tower is not in it.",
    "paris!",
)
PRIORS = (math.log(0.5), math.log(0.3), math.log(0.2))


@pytest.fixture(scope="module")
def model() -> Model:
    return eiffel_model()


def find(model: Model, *readings: Reading) -> list[tuple[FoundAnswer, ...]]:
    found = answer_questions(model.reader.eval(), model.inputs, readings)
    assert not any(one.no_answer or one.abstains for one in found)
    return [one.found for one in found]


def brute_force(model: Model, reading: Reading) -> dict[str, float]:
    """p(y|x) of every normalised text."""
    mass: dict[str, float] = defaultdict(float)
    for passage, start, end, share in spans_of(model, reading):
        mass[normalise_answer(reading.passages[passage][start:end])] += share
    return {text: share for text, share in mass.items() if text}


def spans_of(model: Model, reading: Reading) -> list[tuple[int, int, int, float]]:
    """Passage, start, end and share of every span, one passage and one span at a time."""
    found = []
    for passage, prior in enumerate(reading.log_priors):
        text = reading.passages[passage]
        ids, offsets = model.inputs.tokenize(text)
        question, _ = model.inputs.tokenize(reading.question)
        encoded = model.inputs.reader(question, ids)
        with torch.inference_mode():
            logits = model.reader.eval()(*collate([encoded], model.inputs.pad)).logits[0]
        for i in range(len(ids)):
            for j in range(i, min(len(ids), i + model.config.max_span_width)):
                pieces = [model.inputs.tokenizer.id_to_token(each) or "" for each in [*ids, 0]]
                if pieces[i].startswith("##") or pieces[j + 1].startswith("##"):
                    continue
                weight = math.exp(float(logits[len(question) + 2 + i, j - i]) + prior)
                found.append((passage, offsets[i][0], offsets[j][1], weight))
    total = sum(weight for *_, weight in found)
    return [(passage, start, end, weight / total) for passage, start, end, weight in found]


def test_likelihoods_are_a_distribution_within_each_passage(model: Model) -> None:
    (answers,) = find(model, Reading(QUESTION, ("river tower paris",), (0.0,), answers=1000))
    assert sum(answer.supports[0].likelihood for answer in answers) == pytest.approx(1, abs=1e-4)
    for answer in answers:
        assert answer.supports[0].likelihood == pytest.approx(answer.probability, abs=1e-4)


def test_where_yes_or_no_is_asked_the_sentence_around_the_spans_answers(model: Model) -> None:
    """Its probability is the sum over all spans that begin in it."""
    first, second = "the tower is in paris.", "A river is in paris, the tower is not."
    passages = (f"{first} {second}", "who built it?")
    asked = Reading("is the tower in paris", passages, PRIORS[:2], answers=1000)
    (answers,) = find(model, asked)
    assert {each.text for each in answers} == {first, second, passages[1]}
    assert sum(each.probability for each in answers) == pytest.approx(1, abs=1e-4)
    sentence = next(each for each in answers if each.text == second)
    (support,) = sentence.supports
    assert passages[0][support.start : support.end] == second
    within = sum(
        share
        for passage, start, _, share in spans_of(model, asked)
        if passage == 0 and start > len(first)
    )
    assert sentence.probability == pytest.approx(within, abs=1e-4)
    plain = Reading("in paris the tower is", passages, PRIORS[:2], answers=1000)
    said = {normalise_answer(each.text) for each in find(model, plain)[0]}
    assert said >= {"tower", "river", "paris"}, "spans, where something else is asked"


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
    for found, alone in zip(
        (one.found for one in together), [*find(model, one), *find(model, two)], strict=True
    ):
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
    assert find(model, Reading(QUESTION, passages, (0.0,) * len(passages))) == [()]


def test_probabilities_must_fit_the_passages() -> None:
    with pytest.raises(InvalidInput, match="2 passages"):
        Reading("x", ("a", "b"), (0.0,))


def reads_null(seed: int = 0) -> Model:
    model = eiffel_model(seed)
    model.reader.answers = AnswerRules(null=True)
    return model


@pytest.mark.parametrize("seed", range(3))
def test_the_null_document_is_one_more_passage_with_one_empty_span(seed: int) -> None:
    model = reads_null(seed)
    plain = brute_force(model, Reading(QUESTION, PASSAGES, PRIORS))
    (alone,) = answer_questions(
        eiffel_model(seed).reader.eval(),
        model.inputs,
        [Reading(QUESTION, PASSAGES, PRIORS, answers=1000)],
    )
    (found,) = answer_questions(
        model.reader.eval(), model.inputs, [Reading(QUESTION, PASSAGES, PRIORS, answers=1000)]
    )
    # Its weight against all spans, by hand: p(∅|x) is one of four places.
    question, _ = model.inputs.tokenize(QUESTION)
    spans, total = 0.0, 0.0
    with torch.inference_mode():
        for text, prior in zip(PASSAGES, PRIORS, strict=True):
            encoded = model.inputs.reader(question, model.inputs.tokenize(text)[0])
            body = ReaderInput.build(model.inputs, QUESTION, text)
            logits = model.reader(*collate([encoded], model.inputs.pad)).logits[0]
            logits = logits[body.first : body.first + len(body.offsets)]
            whole = torch.from_numpy(body.whole_words(logits.shape[1])) & logits.isfinite()
            spans += float(logits[whole].exp().sum()) * math.exp(prior) * 3 / 4
        empty = model.inputs.reader(question, [])
        null = float(model.reader(*collate([empty], model.inputs.pad)).null[0])
    total = spans + math.exp(null) / 4
    assert found.no_answer == pytest.approx(math.exp(null) / 4 / total, rel=1e-3)
    by_text = {normalise_answer(one.text): one.probability for one in found.found}
    for text, probability in by_text.items():
        assert probability == pytest.approx(plain[text] * spans / total, rel=1e-3, abs=1e-5)
    # Neither order nor sources change.
    count = min(len(found.found), len(alone.found))
    assert [one.text for one in found.found[:count]] == [one.text for one in alone.found[:count]]
    assert found.abstains == (found.no_answer > found.found[0].probability)
    assert found.given == (() if found.abstains else found.found)


@pytest.mark.parametrize("null", [False, True])
def test_what_re_ranks_is_the_head_for_passages_where_there_is_one(null: bool) -> None:
    plain, model = eiffel_model(), eiffel_model(passage_scores=True)
    rules = AnswerRules(null=null, evidence=2.0)
    plain.reader.answers = model.reader.answers = rules
    reading = Reading(QUESTION, PASSAGES, PRIORS)
    (before,) = answer_questions(plain.reader.eval(), model.inputs, [reading])
    assert before.added == tuple(2.0 * each for each in before.evidence)
    (fresh,) = answer_questions(model.reader.eval(), model.inputs, [reading])
    assert fresh.added == (0.0, 0.0, 0.0), "it begins by changing nothing"
    head = model.reader.passage_scores
    assert head is not None
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    (found,) = answer_questions(model.reader, model.inputs, [reading])
    assert (found.found, found.evidence) == (before.found, before.evidence)
    bodies = [ReaderInput.build(model.inputs, QUESTION, text).encoded for text in PASSAGES]
    with torch.inference_mode():
        hidden = model.reader.hidden(*collate(bodies, model.inputs.pad))
        expected = head(hidden[:, 0]).squeeze(-1).tolist()
    assert found.added == pytest.approx(expected, abs=1e-4)
    assert len(set(found.added)) == 3


@pytest.mark.parametrize("null", [False, True])
def test_evidence_is_the_best_span_of_whole_words_above_the_empty_one(null: bool) -> None:
    model = eiffel_model()
    model.reader.answers = AnswerRules(null=null)
    reading = Reading(QUESTION, (*PASSAGES, "!"), (*PRIORS, -9.0))
    (found,) = answer_questions(model.reader.eval(), model.inputs, [reading])
    expected = []
    for text in PASSAGES:
        body = ReaderInput.build(model.inputs, QUESTION, text)
        with torch.inference_mode():
            spans = model.reader(*collate([body.encoded], model.inputs.pad))
        logits = spans.logits[0, body.first : body.first + len(body.offsets)]
        whole = torch.from_numpy(body.whole_words(logits.shape[1])) & logits.isfinite()
        expected.append(float(logits[whole].max() - spans.null[0]))
    assert found.evidence[: len(PASSAGES)] == pytest.approx(expected, abs=1e-4)
    assert len(found.evidence) == len(reading.passages), "none of the null document"


def test_nothing_read_means_no_answer() -> None:
    model = reads_null()
    (found,) = answer_questions(model.reader.eval(), model.inputs, [Reading(QUESTION, (), ())])
    assert (found.found, found.no_answer, found.abstains) == ((), 1.0, True)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=8), st.floats(-5, 5))
def test_places_with_the_null_document_are_a_distribution(
    priors: list[float], shift: float
) -> None:
    placed, null = with_null_document(priors)
    assert math.fsum(map(math.exp, [*placed, null])) == pytest.approx(1)
    assert math.exp(null) == pytest.approx(1 / (len(priors) + 1))
    assert all(
        placed[i] - placed[0] == pytest.approx(priors[i] - priors[0], abs=1e-9)
        for i in range(len(priors))
    )
    moved, _ = with_null_document([prior + shift for prior in priors])
    assert moved == pytest.approx(placed, abs=1e-9)


def test_calibration_keeps_answers_and_their_order() -> None:
    reading = Reading(QUESTION, PASSAGES, PRIORS, answers=50)
    model = eiffel_model()
    (plain,) = answer_questions(model.reader.eval(), model.inputs, [reading])
    model.reader.answers = AnswerRules(slope=0.4, offset=0.8)
    (found,) = answer_questions(model.reader.eval(), model.inputs, [reading])
    assert [one.text for one in found.found] == [one.text for one in plain.found]
    assert [one.supports for one in found.found] == [one.supports for one in plain.found]
    assert found.found[0].probability != pytest.approx(plain.found[0].probability, rel=1e-2)
    assert sum(one.probability for one in found.found) <= 1 + 1e-6


words = st.sampled_from(["the", "Eiffel", "tower", "paris", "Paris!", "is", "a river", "who", "x1"])
texts = st.lists(words, max_size=5).map(" ".join)


@settings(max_examples=25, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), st.data())
def test_sums_over_any_passages_equal_the_plain_ones(
    passages: list[str], data: st.DataObject
) -> None:
    weights = data.draw(
        st.lists(st.floats(0.05, 1), min_size=len(passages), max_size=len(passages))
    )
    priors = tuple(math.log(weight / sum(weights)) for weight in weights)
    reading = Reading(QUESTION, tuple(passages), priors, answers=10_000)
    model = eiffel_model()
    (found,) = find(model, reading)
    said = {normalise_answer(one.text): one.probability for one in found}
    expected = brute_force(model, reading) if any(passages) else {}
    assert len(said) == len(found)
    for text, probability in expected.items():
        assert said.get(text, 0.0) == pytest.approx(probability, rel=1e-3, abs=2e-5)
    probabilities = [one.probability for one in found]
    assert probabilities == sorted(probabilities, reverse=True)
    for one in found:
        for support in one.supports:
            read = passages[support.passage][support.start : support.end]
            assert normalise_answer(read) == normalise_answer(one.text)
            assert support.prior == pytest.approx(math.exp(priors[support.passage]))
            assert 0 < support.likelihood <= 1


def test_answers_stored_with_their_questions_have_the_share_of_their_passages(model: Model) -> None:
    stored = ("Gustave Eiffel.", "In 1889.", "gustave eiffel")
    (found,) = find(model, Reading(QUESTION, PASSAGES, PRIORS, 5, stored))
    assert [(one.text, one.stored) for one in found] == [
        ("Gustave Eiffel.", True),
        ("In 1889.", True),
    ]
    assert [one.probability for one in found] == pytest.approx([0.7, 0.3])
    first, second = found[0].supports
    assert (first.passage, first.start, first.end) == (0, 0, len(PASSAGES[0]))
    assert (second.passage, second.likelihood) == (2, 1.0)
    assert second.prior == pytest.approx(0.2)


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(1, 4))
@settings(max_examples=20)
def test_what_is_read_shares_what_stored_answers_leave(
    model: Model, which: list[bool], answers: int
) -> None:
    stored = tuple(f"stored {row}" if one else "" for row, one in enumerate(which))
    reading = Reading(QUESTION, PASSAGES, PRIORS, 1000, stored)
    (every,) = find(model, reading)
    left = 1.0 - sum(math.exp(prior) for prior, one in zip(PRIORS, which, strict=True) if one)
    alone = Reading(
        QUESTION,
        tuple(text for text, one in zip(PASSAGES, which, strict=True) if not one),
        tuple(prior for prior, one in zip(PRIORS, which, strict=True) if not one),
        1000,
    )
    expected = {text: left * share for text, share in brute_force(model, alone).items()}
    got = {normalise_answer(one.text): one.probability for one in every if not one.stored}
    assert got == pytest.approx(expected, abs=1e-4)
    for one in every:
        for support in one.supports:
            text = PASSAGES[support.passage][support.start : support.end]
            assert which[support.passage] == one.stored
            same = PASSAGES[support.passage] if one.stored else one.text
            assert normalise_answer(text) == normalise_answer(same)
    (some,) = find(model, Reading(QUESTION, PASSAGES, PRIORS, answers, stored))
    wanted = [one.probability for one in every[:answers]]
    assert [one.probability for one in some] == pytest.approx(wanted, abs=1e-4)


def test_no_answer_wins_only_over_what_is_stored_too(model: Model) -> None:
    reading = Reading(QUESTION, PASSAGES, PRIORS, 3, ("", "", "stored"))
    model.reader.answers = AnswerRules(null=True)
    try:
        (found,) = answer_questions(model.reader.eval(), model.inputs, [reading])
        part = Reading(QUESTION, PASSAGES[:2], PRIORS[:2], 3)
        (read,) = answer_questions(model.reader.eval(), model.inputs, [part])
        certain = Reading(QUESTION, PASSAGES[:1], (0.0,), 1, ("stored",))
        (sure,) = answer_questions(model.reader.eval(), model.inputs, [certain])
    finally:
        model.reader.answers = AnswerRules()
    assert found.no_answer == pytest.approx(0.8 * read.no_answer)
    assert found.abstains == (read.abstains and found.no_answer > 0.2)
    assert found.evidence == pytest.approx((*read.evidence, 0.0))
    assert found.added == pytest.approx((*read.added, 0.0)), "re-ranking has a number for each"
    assert (sure.no_answer, sure.abstains, sure.found[0].probability) == (0.0, False, 1.0)

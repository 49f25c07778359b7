"""Masked LM: masking, candidates, the marginal, the gates, the span term."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.inputs import ReaderInput
from realm.objectives.candidates import (
    Asked,
    Candidate,
    CandidateSearch,
    usable_candidates,
    whole_word_matches,
)
from realm.objectives.masked_lm import MaskedBatch, MaskedLM
from realm.objectives.masking import MaskedSentence, SalientSpans
from realm.objectives.objective import tensors
from realm.objectives.signal_gate import SignalGate
from realm.retrieval import Retrieval
from realm.text.salient_spans import RuleTagger
from tests.tiny import span_head
from tests.unit.objectives.searches import ExactSearch

PLACES = 4


def masked_lm(model: Model, search: CandidateSearch, **changes: Any) -> MaskedLM:
    given: dict[str, Any] = {"batch_size": 3, "candidates": PLACES, "passage_tokens": 96, **changes}
    return MaskedLM(model.inputs, SalientSpans(RuleTagger()), search, **given)


@pytest.fixture
def objective(model: Model, corpus: list[Passage]) -> MaskedLM:
    return masked_lm(model, ExactSearch(model, corpus))


def test_held_out_documents_are_neither_sentence_nor_candidate(
    corpus: list[Passage], objective: MaskedLM
) -> None:
    held_out = {p.passage_id for p in corpus if is_held_out(p.document_id)}
    assert held_out
    for seed in range(8):
        batch = objective.batch(cycle(corpus), random.Random(seed))
        assert not held_out & {sentence.passage_id for sentence in batch.sentences}
        found = {each.passage_id for row in batch.candidates for each in row}
        assert not held_out & found
    assert objective.skipped["held_out_candidate"] > 0


def test_a_sentence_never_meets_a_passage_that_holds_it(
    corpus: list[Passage], objective: MaskedLM
) -> None:
    for seed in range(8):
        batch = objective.batch(cycle(corpus), random.Random(seed))
        for sentence, row in zip(batch.sentences, batch.candidates, strict=True):
            assert 1 <= len(row) <= PLACES - 1
            assert sentence.passage_id not in {each.passage_id for each in row}
            assert all(sentence.text not in each.text for each in row)


def test_near_duplicates_of_the_sentence_are_trivial_too() -> None:
    def found(number: int, text: str) -> Candidate:
        return Candidate(f"p{number}", _free_document(number), text, [], [])

    skipped: Counter[str] = Counter()
    same = found(1, "He said:  MARIE CURIE was born, in Warsaw!")
    other = found(2, "Warsaw is the capital of Poland.")
    kept = usable_candidates([same, other], "Marie Curie was born in Warsaw.", "p9", 3, skipped)
    assert kept == [other]
    assert skipped == {"trivial_candidate": 1}


def test_without_any_usable_candidate_there_is_no_batch(
    model: Model, corpus: list[Passage]
) -> None:
    class Nothing:
        def search(
            self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
        ) -> list[list[Candidate]]:
            return [[] for _ in asked]

    lonely = masked_lm(model, Nothing(), batch_size=2)
    with pytest.raises(NotReady, match="no passage"):
        lonely.batch(cycle(corpus), random.Random(0))
    assert lonely.skipped["no_candidates"] == 2


@pytest.mark.parametrize("places", [1, PLACES - 1])
def test_loss_is_the_sequence_marginal_over_null_and_the_places_taken(
    model: Model, corpus: list[Passage], objective: MaskedLM, places: int
) -> None:
    batch = objective.batch(cycle(corpus), random.Random(4))
    sentence, found = batch.sentences[0], batch.candidates[0][:places]
    row = [dataclasses.replace(one, words=place / 4) for place, one in enumerate(found)]
    with torch.no_grad():
        loss = objective.loss(MaskedBatch([sentence], [row]), model).figures["loss"]
    assert loss == pytest.approx(-_marginal_by_hand(model, sentence, row), abs=1e-4)


def test_retriever_learns_only_through_open_gates(
    model: Model, corpus: list[Passage], objective: MaskedLM
) -> None:
    batch = _with_matches(objective, corpus)

    def gradient() -> float:
        model.retriever.zero_grad()
        model.reader.zero_grad()
        objective.loss(batch, model).value.backward()
        parts = [
            p.grad.abs().sum().item() for p in model.retriever.parameters() if p.grad is not None
        ]
        reader = [
            p.grad.abs().sum().item() for p in model.reader.parameters() if p.grad is not None
        ]
        assert sum(reader) > 0
        return sum(parts)

    assert gradient() == 0
    _open(objective.utility_gate)
    through_words = gradient()
    assert through_words > 0
    _open(objective.span_gate)
    assert gradient() != pytest.approx(through_words)
    objective.utility_gate = SignalGate()
    assert gradient() > 0


def test_span_head_learns_from_passages_that_hold_the_answer(
    model: Model, corpus: list[Passage], objective: MaskedLM
) -> None:
    batch = _with_matches(objective, corpus)
    model.reader.zero_grad()
    loss = objective.loss(batch, model)
    loss.value.backward()
    assert loss.figures["span_matched"] > 0
    assert loss.figures["span_loss"] > 0
    assert loss.value.item() == pytest.approx(
        loss.figures["loss"] + loss.figures["span_loss"], rel=1e-5
    )
    weight = span_head(model).dense_output.weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_without_the_span_term_the_loss_is_the_papers_alone(
    model: Model, corpus: list[Passage], objective: MaskedLM
) -> None:
    pure = masked_lm(model, ExactSearch(model, corpus), span_term=False)
    batch = _with_matches(objective, corpus)
    model.reader.zero_grad()
    loss = pure.loss(batch, model)
    loss.value.backward()
    assert loss.value.item() == loss.figures["loss"]
    assert "span_loss" not in loss.figures
    assert span_head(model).dense_output.weight.grad is None
    with torch.no_grad():
        assert loss.figures["loss"] == objective.loss(batch, model).figures["loss"]


def test_an_answer_stays_in_the_window_of_a_long_candidate(
    model: Model, corpus: list[Passage]
) -> None:
    class Long:
        """Passages with a year at their end."""

        def search(
            self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
        ) -> list[list[Candidate]]:
            text = "the people of the town live in the river and " * 4
            found = []
            for number, year in enumerate((1800, 1801, 1802, 1803, 1804)):
                ids, _ = model.inputs.tokenize(f"{text} {year}")
                found.append(Candidate(f"p{number}", _free_document(number), text, [], ids))
            return [found[:limit] for _ in asked]

    windowed = masked_lm(model, Long(), batch_size=8, candidates=6, passage_tokens=24)
    batch = windowed.batch(cycle(corpus), random.Random(0))
    years = [
        (sentence, model.inputs.tokenize(str(1800 + number))[0], one)
        for sentence, found in zip(batch.sentences, batch.candidates, strict=True)
        for number, one in enumerate(found)
    ]
    assert all(len(one.body_ids) <= 21 for _, _, one in years)
    asked = [(year, one) for sentence, year, one in years if sentence.targets == year]
    assert asked
    assert all(one.body_ids[-len(year) :] == year for year, one in asked)


def test_spans_that_are_taught_are_whole_words_as_in_serving(
    model: Model, corpus: list[Passage], objective: MaskedLM
) -> None:
    """A score on half a word takes nothing from the answer: nobody could be served it."""
    batch = _with_matches(objective, corpus)
    body = batch.candidates[0][0].body_ids
    assert any((model.inputs.tokenizer.id_to_token(one) or "").startswith("##") for one in body)
    scores, valid = objective._scores(batch, model)
    spans = objective._predict(batch, model).spans
    assert spans is not None
    bodies = [
        ReaderInput.build(model.inputs, batch.sentences[0].text, c.text)
        for c in batch.candidates[0]
    ]
    for row, served in enumerate(bodies, start=1):
        run = slice(served.first, served.first + len(served.offsets))
        taught = spans.logits[row].isfinite().numpy()
        assert (taught[run] == served.whole_words(taught.shape[1])).all()
        assert taught.sum() == taught[run].sum()
    assert (spans.matches & ~spans.logits.isfinite()).sum() == 0
    assert scores.shape == valid.shape


def test_span_term_is_zero_where_nothing_matches(
    model: Model, corpus: list[Passage], objective: MaskedLM
) -> None:
    batch = objective.batch(cycle(corpus), random.Random(4))
    for row in batch.candidates:
        row[:] = [dataclasses.replace(each, body_ids=[8] * 20) for each in row]
    loss = objective.loss(batch, model)
    assert loss.figures["span_matched"] == 0
    assert loss.value.item() == pytest.approx(loss.figures["loss"])
    assert objective.span_gate.seen == 0


def test_gate_observes_what_retrieval_as_a_whole_is_worth(
    model: Model, corpus: list[Passage], objective: MaskedLM
) -> None:
    """log p(y|x) − log p(y|∅, x): one good passage among bad ones may be worth much."""
    batch = objective.batch(cycle(corpus), random.Random(4))
    first = MaskedBatch(batch.sentences[:1], batch.candidates[:1])
    figures = objective.loss(first, model).figures
    with_passages = _marginal_by_hand(model, first.sentences[0], first.candidates[0])
    gain = with_passages - _marginal_by_hand(model, first.sentences[0], [])
    assert figures["retrieval_gain"] == pytest.approx(gain, abs=1e-4)
    assert objective.utility_gate.seen == 1
    assert objective.utility_gate.average == pytest.approx(gain, abs=1e-4)
    assert figures["retrieval_utility"] != pytest.approx(gain, abs=1e-3)


def test_state_survives_a_restart(model: Model, corpus: list[Passage], objective: MaskedLM) -> None:
    _open(objective.utility_gate)
    again = masked_lm(model, ExactSearch(model, corpus[:2]), batch_size=1)
    again.restore(objective.state())
    assert again.utility_gate.open
    assert not again.span_gate.open
    assert again.state() == objective.state()


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=3))
def test_matches_are_exactly_the_equal_windows_at_word_ends(
    body: list[int], answer: list[int]
) -> None:
    found = whole_word_matches(body, answer, {3})
    for start in range(len(body) + 1):
        window = body[start : start + len(answer)]
        following = body[start + len(answer) : start + len(answer) + 1]
        whole = bool(answer) and answer[0] != 3 and following != [3]
        assert (start in found) == (window == answer and whole)


@torch.no_grad()
def _marginal_by_hand(model: Model, sentence: MaskedSentence, row: list[Candidate]) -> float:
    """log Σ_z p(z|x) Π_j p(y_j|z,x), one passage after the other."""
    device = torch.device("cpu")
    pad = model.inputs.pad
    passages = [model.inputs.null_passage()]
    passages += [model.inputs.passage(each.title_ids, each.body_ids) for each in row]
    query = model.inputs.query_from_ids(sentence.ids)
    x = model.retriever.query(*tensors([query], pad, device))
    scores = [
        float(model.retriever.scale * (x @ model.retriever.passage(*tensors([z], pad, device)).T))
        for z in passages
    ]
    words = [0.0, *(each.words for each in row)]  # the null document has none
    weight = model.retriever.word_weight.item()
    scores = [score + weight * own for score, own in zip(scores, words, strict=True)]
    prior = torch.log_softmax(torch.tensor(scores), dim=0)
    joint = []
    for place, body in enumerate([[], *(each.body_ids for each in row)]):
        read = model.inputs.reader(sentence.ids, body)
        hidden = model.reader.hidden(*tensors([read], pad, device))
        positions = torch.tensor([[1 + i for i in sentence.positions]])
        logits = model.reader.masked_logits(hidden, positions)[0].log_softmax(dim=-1)
        product = sum(float(logits[j, y]) for j, y in enumerate(sentence.targets))
        joint.append(float(prior[place]) + product)
    return float(torch.logsumexp(torch.tensor(joint), dim=0))


def _with_matches(objective: MaskedLM, corpus: list[Passage]) -> MaskedBatch:
    """A batch in which one masked answer stands, as whole words, in two candidates."""
    inputs = objective._inputs
    town = [p for p in corpus if not is_held_out(p.document_id)]
    text = "Once Belmor was a small and quiet place."
    ids, _ = inputs.tokenize(text)
    name, _ = inputs.tokenize("Belmor")
    start = next(i for i in range(len(ids)) if ids[i : i + len(name)] == name)
    positions = list(range(start, start + len(name)))
    masked = [inputs.mask if i in positions else piece for i, piece in enumerate(ids)]
    sentence = MaskedSentence("origin", text, masked, positions, name, text)
    holding = [p for p in town if "Belmor" in p.text][:2]
    lacking = [p for p in town if "Belmor" not in p.text][:1]
    return MaskedBatch([sentence], [[Candidate.of(p) for p in holding + lacking]])


def _open(gate: SignalGate) -> None:
    for _ in range(2 * gate.least):
        gate.observe(1.0)
    assert gate.open


def _free_document(number: int) -> str:
    names = (f"document-{number}-{i}" for i in range(100))
    return next(name for name in names if not is_held_out(name))

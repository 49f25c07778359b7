"""Cloze QA: the answer comes from elsewhere, and both reader and retriever learn from it."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence
from itertools import cycle

import pytest
import torch

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.objectives.candidates import Asked, Candidate, CandidateSearch
from realm.objectives.cloze_qa import ClozeQA
from realm.objectives.reading import ReaderLoss
from realm.retrieval import Retrieval
from realm.text.cloze import ClozeQuestion, normalise_sentence
from realm.text.questions import normalise_answer
from realm.text.salient_spans import RuleTagger
from tests.unit.model.test_brute_force import exact_model, score_alone, spans_alone
from tests.unit.objectives.searches import ExactSearch, holds, ids_of, minus_log_share, words_of

EXACT = functools.partial(pytest.approx, abs=1e-9)
READ = 3


def make(model: Model, search: CandidateSearch, batch_size: int = 2) -> ClozeQA:
    reading = ReaderLoss(
        model.inputs, max_span_width=model.config.max_span_width, reader_tokens=160
    )
    return ClozeQA(
        model.inputs,
        RuleTagger(),
        search,
        reading,
        batch_size=batch_size,
        read=READ,
        passage_tokens=96,
    )


def test_the_answer_stands_in_another_passage_and_not_by_the_sentence(
    model: Model, corpus: list[Passage]
) -> None:
    few = corpus[:20]  # so few that every search finds them all
    objective = make(model, ExactSearch(model, few))
    copies = 0
    for seed in range(6):
        for one in objective.batch(cycle(few), random.Random(seed)):
            assert 1 <= len(one.candidates) <= READ
            assert any(one.contains)
            assert one.origin not in {each.passage_id for each in one.candidates}
            needle = normalise_sentence(one.question.sentence)
            for candidate, contains in zip(one.candidates, one.contains, strict=True):
                assert needle not in normalise_sentence(candidate.text)
                assert not is_held_out(candidate.document_id)
                answer = normalise_answer(one.question.answer)
                assert contains == (f" {answer} " in f" {normalise_answer(candidate.text)} ")
            copies += sum(one.contains)
    assert objective.skipped["trivial_candidate"] > 0
    assert copies > 0


def test_the_best_passage_with_the_answer_is_read_even_if_it_ranks_low(
    model: Model, corpus: list[Passage]
) -> None:
    free = [p for p in corpus if not is_held_out(p.document_id)]
    origin = next(p for p in free if "founded by Belmor" in p.text)
    holding = [p for p in free if "Belmor" in p.text and p.document_id != origin.document_id]
    lacking = [p for p in free if p.document_id != origin.document_id and p not in holding][:5]
    ranked = [Candidate.of(p) for p in (*lacking, *holding)]
    text = "The quiet old town was founded by Belmor."
    asking = dataclasses.replace(origin, text=text)

    class Ranked:
        def search(
            self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
        ) -> list[list[Candidate]]:
            return [ranked[:limit] for _ in asked]

    (one,) = make(model, Ranked(), 1).batch(cycle([asking]), random.Random(0))
    assert one.question.answer == "Belmor"
    assert one.candidates == [*ranked[: READ - 1], Candidate.of(holding[0])]
    assert one.contains == [False, False, True]


def test_reader_and_both_towers_learn(model: Model, corpus: list[Passage]) -> None:
    objective = make(model, ExactSearch(model, corpus), 4)
    batch = objective.batch(cycle(corpus), random.Random(1))
    loss = objective.loss(batch, model)
    assert loss.value.item() == pytest.approx(
        loss.figures["retriever_loss"] + loss.figures["reader_loss"], rel=1e-5
    )
    model.retriever.zero_grad()
    model.reader.zero_grad()
    loss.value.backward()
    for module in (model.retriever, model.reader):
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


@torch.no_grad()
def test_loss_equals_an_enumeration_over_fresh_scores_and_spans() -> None:
    model = exact_model()
    texts = ["she wrote it", "who did it", "in it she did"]
    candidates = [
        Candidate(f"p{i}", "d", text, [], ids_of(text), words_of(i)) for i, text in enumerate(texts)
    ]
    objective = make(model, _Fixed(candidates), 1)
    question = ClozeQuestion("who she did", "who did", "she", "name")
    query = model.inputs.query(question.question)
    made = objective._example("origin", question, query, candidates, random.Random(0))
    assert made is not None
    asked = ids_of(question.question)
    weight = model.retriever.word_weight.item()
    scores = [
        score_alone(model, asked, model.inputs.passage([], ids_of(z))) + weight * words_of(place)
        for place, z in enumerate(texts)
    ]
    expected = minus_log_share(scores, [holds(text, "she") for text in texts])
    logits, matching = [], []
    for score, text in zip(scores, texts, strict=True):
        body = ids_of(text)
        for (first, last), logit in spans_alone(
            model, model.inputs.reader(asked, body), body
        ).items():
            logits.append(score + logit)
            matching.append(text.split()[first : last + 1] == ["she"])
    expected += minus_log_share(logits, matching)
    assert objective.loss([made], model).value.item() == EXACT(expected)


class _Fixed:
    def __init__(self, candidates: list[Candidate]) -> None:
        self._candidates = candidates

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        return [self._candidates[:limit] for _ in asked]

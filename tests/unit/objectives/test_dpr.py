"""Supervised contrast against an enumeration; positives, hard negatives, and false ones."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.documents import is_held_out
from realm.errors import DependencyUnavailable, NotReady
from realm.objectives.candidates import Asked, Beam, Candidate
from realm.objectives.dpr import DPR, false_negatives
from realm.objectives.inverse_cloze import ContrastBatch
from realm.objectives.sources import Questions
from realm.retrieval import Retrieval
from realm.text.questions import Question
from tests.unit.model.test_brute_force import exact_model, score_alone
from tests.unit.objectives.searches import FREE, ListedSearch, holds, ids_of, texts, words

EXACT = functools.partial(pytest.approx, abs=1e-9)
HELD_OUT = next(name for name in map("document-{}".format, range(99)) if is_held_out(name))
OTHERS = [name for name in map("other-{}".format, range(99)) if not is_held_out(name)]


def found(number: int, text: str, document: str = FREE) -> Candidate:
    return Candidate(f"p{number}", document, text, [], ids_of(text))


class Ranked:
    """Passages in orders of their own, by vectors and by words, and by document."""

    def __init__(self, *ranked: Candidate, by_words: Sequence[Candidate] = ()) -> None:
        self.ranked = list(ranked)
        self.by_words = list(by_words)

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        ranked = self.by_words if way is Retrieval.BM25 else self.ranked
        return [ranked[:limit] for _ in asked]

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
        raise AssertionError("contrast wants no beams")

    def of_document(self, document_id: str) -> list[Candidate]:
        return [one for one in self.ranked if one.document_id == document_id]


class Away(Ranked):
    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        raise DependencyUnavailable("Qdrant does not serve")


def make(
    search: Ranked | ListedSearch,
    questions: Sequence[Question],
    *,
    batch_size: int = 2,
    hard: int = 1,
) -> DPR:
    return DPR(
        exact_model().inputs,
        Questions(questions),
        search,
        batch_size=batch_size,
        hard_negatives=hard,
        passage_tokens=32,
    )


def batch_of(objective: DPR, seed: int = 0) -> ContrastBatch:
    return objective.batch(iter(()), random.Random(seed))


examples = st.lists(st.tuples(texts, words, texts), min_size=2, max_size=4)


@torch.no_grad()
@settings(max_examples=25, deadline=None)
@given(examples, st.lists(texts, max_size=4))
def test_loss_equals_the_enumeration_over_true_negatives(
    told: list[tuple[str, str, str]], hard: list[str]
) -> None:
    model = exact_model()
    asked = [Question(question, (answer,)) for question, answer, _ in told]
    columns = [
        found(number, text)
        for number, text in enumerate([*(f"{text} {answer}" for _, answer, text in told), *hard])
    ]
    objective = make(Ranked(), asked)
    batch = ContrastBatch(
        [model.inputs.query(question) for question, _, _ in told],
        [model.inputs.passage([], one.body_ids) for one in columns],
        false_negatives(asked, columns),
    )
    losses = []
    for row, (question, answer, _) in enumerate(told):
        scores = {
            column: score_alone(model, ids_of(question), model.inputs.passage([], ids_of(one.text)))
            for column, one in enumerate(columns)
            if column == row or not holds(one.text, answer)
        }
        most = max(scores.values())
        whole = math.fsum(math.exp(score - most) for score in scores.values())
        losses.append(math.log(whole) + most - scores[row])
    loss = objective.loss(batch, model)
    assert loss.value.item() == EXACT(math.fsum(losses) / len(losses))
    assert loss.figures["loss"] == EXACT(loss.value.item())


def test_false_negatives_are_duplicates_of_the_positive_and_what_answers() -> None:
    asked = [Question("who wrote it", ("she",)), Question("did it", ("who",))]
    columns = [
        found(0, "she wrote it"),
        found(1, "who did it"),
        found(0, "in it"),  # the first passage, by its id
        Candidate("p3", FREE, "She wrote it!", [], []),  # the first passage, but for case and marks
        found(4, "did she"),  # holds an answer to the first
        found(5, "it did"),
    ]
    exclude = false_negatives(asked, columns)
    assert exclude.tolist() == [
        [False, False, True, True, True, False],
        [False, False, False, False, False, False],
    ]


def test_hard_negatives_are_the_best_ranked_that_hold_no_answer() -> None:
    model = exact_model()
    ranked = Ranked(
        found(1, "she did it"),
        found(2, "it did", HELD_OUT),
        found(3, "in it"),
        found(4, "who"),
        found(5, "wrote she", OTHERS[0]),
    )
    asked = [
        Question("who wrote it", ("she",), None, OTHERS[0]),
        Question("who did", ("she",), None, FREE),
    ]
    objective = make(ranked, asked, hard=2)
    batch = batch_of(objective)
    order = [one.ids for one in batch.queries].index(model.inputs.query("who wrote it").ids)
    positives = [model.inputs.passage([], ids_of(text)) for text in ("wrote she", "she did it")]
    negatives = [model.inputs.passage([], ids_of(text)) for text in ("in it", "who")]
    assert batch.passages[:2] == (positives if order == 0 else positives[::-1])
    assert batch.passages[2:] == [*negatives, *negatives]
    assert objective.skipped["held_out_candidate"] == 2
    # Neither is the other's negative: both hold "she".
    assert batch.exclude[0, 1]
    assert batch.exclude[1, 0]


def test_both_ways_to_search_give_hard_negatives_in_turn() -> None:
    search = Ranked(
        found(1, "she did"),
        found(2, "it"),
        found(3, "in it"),
        by_words=[found(4, "who"), found(2, "it"), found(5, "did")],
    )
    asked = [Question(text, ("she",), None, FREE) for text in ("who wrote it", "who did")]
    drawn = set()
    for seed in range(10):
        batch = batch_of(make(search, asked, hard=2), seed)
        drawn |= {tuple(one.ids) for one in batch.passages[2:]}
        assert len(batch.passages) == 6
    inputs = exact_model().inputs
    # Of each way the best without an answer; the one met in both counts once.
    wanted = {tuple(inputs.passage([], ids_of(text)).ids) for text in ("it", "who")}
    assert wanted <= drawn


def test_without_a_document_the_positive_is_the_best_ranked_that_answers() -> None:
    ranked = Ranked(found(1, "it did"), found(2, "she wrote"), found(3, "she"))
    asked = [Question(text, ("she",)) for text in ("who wrote it", "who did")]
    objective = make(ranked, asked)
    assert objective.needs_index
    batch = batch_of(objective)
    inputs = exact_model().inputs
    assert batch.passages[:2] == [inputs.passage([], ids_of("she wrote"))] * 2
    assert batch.passages[2:] == [inputs.passage([], ids_of("it did"))] * 2


def test_a_long_positive_keeps_its_answer() -> None:
    asked = [Question(text, ("she",), None, FREE) for text in ("who wrote it", "who did")]
    long = found(1, " ".join([*["it did in it"] * 20, "she wrote"]))
    objective = make(Ranked(long, found(2, "in it")), asked)
    (she,) = ids_of("she")
    for seed in range(5):
        for read in batch_of(objective, seed).passages[:2]:
            assert she in read.ids
            assert len(read) <= 32


def test_without_hard_negatives_no_index_is_needed() -> None:
    asked = [Question(text, ("she",), None, FREE) for text in ("who wrote it", "who did")]
    search = Away(found(1, "she did"), found(2, "she"))
    objective = make(search, asked, hard=0)
    assert not objective.needs_index
    assert len(batch_of(objective).passages) == 2
    with pytest.raises(DependencyUnavailable):
        batch_of(make(search, asked, hard=1))


def test_questions_are_skipped_for_reasons() -> None:
    search = Ranked(found(1, "it did"), found(2, "she"))
    asked = [
        Question("who wrote it", ("she",), None, HELD_OUT),
        Question("in it", ("wrote",), None, FREE),
        Question("\u200b", ("she",), None, FREE),
        Question("who", ("she",), None, FREE),
    ]
    objective = make(search, asked, hard=5, batch_size=3)
    with pytest.raises(NotReady, match="an answer to 1 of the questions"):
        batch_of(objective)
    assert set(objective.skipped) == {
        "held_out",
        "no_positive",
        "no_word_pieces",
        "too_few_hard_negatives",
    }

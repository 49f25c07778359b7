"""Questions and cloze sentences become examples: what each may learn from, and what never."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from realm.corpus.documents import Document, is_held_out
from realm.errors import InvalidInput
from realm.evaluation.searching import split_documents
from realm.evaluation.systems import System
from realm.model.relevance import DENSE_ONLY
from realm.recipes.reading_examples import QuestionExamples, ReaderDataset, cloze_examples, prepare
from realm.text.questions import Question
from realm.text.salient_spans import RuleTagger

DOCUMENTS = [Document(f"d{n}", "t", f"pig {n} ran home. cow {n} sat.") for n in range(60)]
ASKED = [Question(f"which pig ran on day {n}?", (f"pig {n}",), None, f"d{n}") for n in range(40)]


def dataset(system: System, questions: list[Question] = ASKED, hard: int = 3) -> ReaderDataset:
    return prepare(system, DOCUMENTS, questions, hard=hard, read=4)


def test_held_out_documents_are_tested_on_and_never_taught(system: System) -> None:
    made = dataset(system)
    held_out = [one for one in ASKED if is_held_out(one.document_id or "")]
    assert 0 < len(held_out) < len(ASKED)
    assert [question for question, _ in made.held_out] == held_out
    assert [one.question for one in made.examples] == [q for q in ASKED if q not in held_out]
    unseen = {DOCUMENTS[int((q.document_id or "d")[1:])].text for q in held_out}
    taught = {p.text for one in made.examples for p in (*one.own, *one.negatives)}
    assert not unseen & taught
    assert all(len(reading.passages) == 4 for _, reading in made.held_out)


def test_documents_that_no_question_names_are_not_touched(system: System) -> None:
    made = dataset(system)
    named = {document.text for document in DOCUMENTS[:40]}
    assert {p.text for one in made.examples for p in (*one.own, *one.negatives)} <= named
    assert {text for _, reading in made.held_out for text in reading.passages} <= named


def test_negatives_are_the_best_of_other_documents(system: System) -> None:
    for one in dataset(system).examples:
        number = one.question.document_id[1:] if one.question.document_id else ""
        assert [passage.text for passage in one.own] == [
            f"pig {number} ran home. cow {number} sat."
        ]
        assert len(one.negatives) == 3
        assert one.own[0] not in one.negatives
        scores = [passage.score for passage in one.negatives]
        assert scores == sorted(scores, reverse=True)


def test_a_lesson_draws_one_own_passage_and_negatives(system: System) -> None:
    examples = dataset(system).examples[0]
    drawn = [examples.example(2, random.Random(seed)) for seed in range(20)]
    assert {example.passages[0] for example in drawn} == {examples.own[0].text}
    assert {len(example.passages) for example in drawn} == {3}
    assert len({example.passages for example in drawn}) > 2
    assert len(examples.example(9, random.Random(0)).passages) == 4


def test_negatives_come_in_the_mean_and_no_answer_without_any(system: System) -> None:
    examples = dataset(system).examples[0]
    assert examples.empty == examples.negatives
    rng = random.Random(3)
    drawn = [examples.example(0.25, rng) for _ in range(400)]
    assert {len(example.passages) for example in drawn} == {1, 2}
    assert 0.15 < sum(len(example.passages) - 1 for example in drawn) / 400 < 0.35
    empty = [examples.example(1, rng, no_answer=1.0) for _ in range(20)]
    assert all(example.answers == () and len(example.passages) == 2 for example in empty)
    assert not {examples.own[0].text} & {text for example in empty for text in example.passages}


def test_what_holds_the_answer_by_chance_never_teaches_that_there_is_none(
    system: System,
) -> None:
    same = [Document(f"e{n}", "t", f"pig {n % 2} ran home {n}.") for n in range(8)]
    asked = [Question("which pig ran?", ("pig 1",), None, f"e{n}") for n in (1, 3, 5, 7)]
    made = prepare(system, same, asked, hard=3, read=2).examples
    for one in made:
        assert not any("pig 1" in passage.text for passage in one.empty)
        assert one.example(1, random.Random(0), no_answer=1.0).answers == (
            () if one.empty else ("pig 1",)
        )
    assert any(one.negatives and not one.empty for one in made)


def test_what_cannot_be_taught_is_counted(system: System) -> None:
    name = next(one.document_id for one in ASKED if not is_held_out(one.document_id or ""))
    odd = [
        Question("where is it?", ("nowhere",), None, name),
        Question("where is it?", ("pig 1",), None, "elsewhere"),
        Question("where is it?", (), None, name),
    ]
    assert dataset(system, [*ASKED, *odd]).skipped == {
        "answer_not_in_document": 1,
        "unknown_document": 1,
        "no_answer_text": 1,
    }
    with pytest.raises(InvalidInput, match="no question can be taught"):
        dataset(system, odd)


NAMES = ("Arden", "Belmor", "Cestria", "Dunholm")
STORIES = [
    Document(
        f"d{n}",
        "t",
        f"In the long war number {n} the town was taken by {NAMES[n % 4]} at last."
        f" The river beside tower number {n} rose above its old banks.",
    )
    for n in range(24)
]


def clozes(
    system: System, documents: list[Document] = STORIES, most: int = 100
) -> tuple[list[QuestionExamples], Counter[str]]:
    skipped: Counter[str] = Counter()
    passages = split_documents(documents, system.inputs)
    # By their words the stories are copies of each other.
    system = replace(system, relevance=DENSE_ONLY)
    made = cloze_examples(
        system, passages, most, random.Random(0), skipped=skipped, tagger=RuleTagger()
    )
    return made, skipped


def test_the_answer_is_gone_from_the_question_and_stands_in_another_passage(
    system: System,
) -> None:
    made, skipped = clozes(system)
    assert made
    by_id = {document.id: document.text for document in STORIES}
    for one in made:
        (answer,) = one.question.answers
        source = by_id[one.question.document_id or ""]
        assert answer in source
        assert answer not in one.question.question
        assert all(answer in passage.text and passage.text != source for passage in one.own)
        assert all(answer not in passage.text for passage in one.negatives)
        assert one.empty == one.negatives
    assert skipped["answer_not_found"] > 0  # tower numbers are each their own


def test_held_out_documents_neither_ask_nor_answer(system: System) -> None:
    held_out = {one.text for one in STORIES if is_held_out(one.id)}
    assert held_out
    made, _ = clozes(system)
    read = {passage.text for one in made for passage in (*one.own, *one.negatives)}
    assert not held_out & read
    assert not any(is_held_out(one.question.document_id or "") for one in made)


def test_a_copy_of_the_sentence_is_no_passage_to_find_it_in(system: System) -> None:
    copies = [Document(f"c{n}", "t", STORIES[1].text) for n in range(12)]
    made, skipped = clozes(system, copies)
    assert made == []
    assert skipped["answer_not_found"] > 0


def test_no_more_than_asked_for(system: System) -> None:
    assert len(clozes(system, most=3)[0]) == 3

"""Cloze examples: the answer stands elsewhere, and no held-out document takes part."""

from __future__ import annotations

import random
from collections import Counter

from realm.corpus.documents import Document, is_held_out
from realm.evaluation.searching import cut
from realm.evaluation.systems import System
from realm.recipes.cloze_examples import cloze_examples
from realm.recipes.reading_examples import QuestionExamples
from realm.text.salient_spans import RuleTagger

NAMES = ("Arden", "Belmor", "Cestria", "Dunholm")
DOCUMENTS = [
    Document(
        f"d{n}",
        "t",
        f"In the long war number {n} the town was taken by {NAMES[n % 4]} at last."
        f" The river beside tower number {n} rose above its old banks.",
    )
    for n in range(24)
]


def examples(
    system: System, documents: list[Document] = DOCUMENTS, most: int = 100
) -> tuple[list[QuestionExamples], Counter[str]]:
    skipped: Counter[str] = Counter()
    passages = cut(documents, system.inputs)
    made = cloze_examples(
        system, passages, most, random.Random(0), skipped=skipped, tagger=RuleTagger()
    )
    return made, skipped


def test_the_answer_is_gone_from_the_question_and_stands_in_another_passage(
    system: System,
) -> None:
    made, skipped = examples(system)
    assert made
    by_id = {document.id: document.text for document in DOCUMENTS}
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
    held_out = {one.text for one in DOCUMENTS if is_held_out(one.id)}
    assert held_out
    made, _ = examples(system)
    read = {passage.text for one in made for passage in (*one.own, *one.negatives)}
    assert not held_out & read
    assert not any(is_held_out(one.question.document_id or "") for one in made)


def test_a_copy_of_the_sentence_is_no_passage_to_find_it_in(system: System) -> None:
    copies = [Document(f"c{n}", "t", DOCUMENTS[1].text) for n in range(12)]
    made, skipped = examples(system, copies)
    assert made == []
    assert skipped["answer_not_found"] > 0


def test_no_more_than_asked_for(system: System) -> None:
    assert len(examples(system, most=3)[0]) == 3

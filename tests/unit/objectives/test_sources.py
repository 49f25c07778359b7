"""Where questions to learn from come from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from realm.corpus.documents import is_held_out
from realm.errors import BadSettings, InvalidInput
from realm.model.inputs import InputBuilder
from realm.objectives.sources import QuestionPool, Questions, load_questions
from realm.records.store import Store
from realm.text.questions import Question

LINES = b'{"question": "who wrote it", "answers": ["she"], "document_id": "a", "id": "1"}\n\n'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_questions_are_read_from_a_path_or_from_the_store(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(LINES)
    store.write("questions/train.jsonl", LINES)
    expected = (Question("who wrote it", ("she",), None, "a"),)
    assert load_questions(str(path), store) == expected
    assert load_questions("questions/train.jsonl", store) == expected


def test_what_is_missing_is_named(store: Store) -> None:
    with pytest.raises(BadSettings, match="REALM_TRAIN_QUESTIONS"):
        load_questions("", store)
    with pytest.raises(BadSettings, match=r"names gone\.jsonl, which is neither a file"):
        load_questions("gone.jsonl", store)
    store.write("bad.jsonl", LINES + b"{}")
    with pytest.raises(InvalidInput, match=r"bad\.jsonl:3: question: Field required"):
        load_questions("bad.jsonl", store)


def test_no_question_of_a_held_out_document_is_drawn_from_real_data(inputs: InputBuilder) -> None:
    import random

    data = Path(__file__).parents[3].parent / "shared" / "data"
    path = data / "squad_open" / "questions.train.jsonl"
    if not path.is_file():
        pytest.skip(f"{path.name} of squad_open is not beside the checkout")
    questions = [
        Question(row["question"], tuple(row["answers"]), None, row["document_id"])
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()[:4000])
    ]
    skipped: Counter[str] = Counter()
    pool = QuestionPool(Questions(questions), inputs, skipped)
    drawn = [one for one, _ in pool.draw(len(questions), random.Random(0))]
    assert len(drawn) == len(pool)
    assert not any(is_held_out(one.document_id or "") for one in drawn)
    assert skipped["held_out"] == len(questions) - len(drawn) > 0

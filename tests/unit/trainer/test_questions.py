"""Questions that are given while training runs."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from realm.model.checkpoint import Model
from realm.objectives.candidates import Candidate
from realm.objectives.dpr import DPR
from realm.objectives.sources import Questions, load_questions
from realm.records.store import Store
from realm.text.questions import Question
from services.trainer import questions as watching
from services.trainer.questions import QuestionWatch
from tests import tiny
from tests.unit.objectives.towns import ExactSearch

LIMIT = 30.0


def lines(*asked: Question) -> bytes:
    rows = [
        {"question": one.question, "answers": one.answers, "document_id": one.document_id}
        for one in asked
    ]
    return "\n".join(json.dumps(row) for row in rows).encode()


def asked(prefix: str, documents: list[str]) -> list[Question]:
    return [Question(f"{prefix} {name}?", ("ago",), None, name) for name in documents]


def look(watch: QuestionWatch) -> str | None:
    """One look at the file, its reading waited for."""
    watch.look()
    deadline = time.monotonic() + LIMIT
    while watch._reading.busy and time.monotonic() < deadline:
        found = watch.look()
        if found is not None:
            return found
    assert not watch._reading.busy
    return None


@pytest.mark.parametrize("place", ["store", "path"])
def test_new_questions_are_learnt_from_without_a_restart(
    model: Model, store: Store, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.0)
    name = "questions.jsonl" if place == "store" else str(tmp_path / "questions.jsonl")

    def write(text: bytes) -> None:
        store.write(name, text) if place == "store" else Path(name).write_bytes(text)

    corpus = tiny.passages(model.inputs)
    search = ExactSearch(model, corpus)
    known = [one.document_id for one in map(Candidate.of, corpus)][:30]
    write(lines(*asked("who founded", known)))
    questions = Questions(load_questions(name, store))
    objective = DPR(
        model.inputs, questions, search, batch_size=4, hard_negatives=0, passage_tokens=96
    )
    watch = QuestionWatch(name, store, questions)

    def drawn() -> set[tuple[int, ...]]:
        batch = objective.batch(iter(()), random.Random(1))
        return {tuple(query.ids) for query in batch.queries}

    before = drawn()
    # As they are in use already, nothing is told; nor is it of a file that cannot be used.
    assert look(watch) is None
    write(b'{"question": ""}')
    assert look(watch) is None
    assert drawn() == before
    write(lines(*asked("when was", known)))
    assert look(watch) == lines(*asked("when was", known)).decode()
    new = {tuple(model.inputs.query(one.question).ids) for one in asked("when was", known)}
    assert drawn() <= new
    # Questions that name no document have to be searched for.
    assert not objective.needs_index
    write(lines(Question("who?", ("ago",))))
    assert look(watch) is not None
    assert objective.needs_index
    if place == "path":
        Path(name).unlink()
        assert look(watch) is None
        assert len(questions.all) == 1

"""`realm recorded`, on a store in a folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from realm.records.recorded_questions import RecordedQuestion, RecordedQuestions
from realm.records.store import Store
from tests.unit.cli.conftest import run

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    return Store.open(str(tmp_path / "store"))


def test_questions_are_listed_and_forgotten(store: Store, capsys: Captured) -> None:
    assert run(["recorded", "list"]) == 0
    assert "No question is recorded" in capsys.readouterr().out
    for at, words in enumerate(("where do I live?", "who wrote this?")):
        asked_at = time.time() - 100 + at
        RecordedQuestions(store).write([RecordedQuestion(words, "d1", 3, asked_at)])
    assert run(["recorded", "list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "who wrote this? (d1)" in first
    assert "where do I live?" in second

    assert run(["recorded", "forget", "do I live"]) == 0
    capsys.readouterr()
    assert run(["recorded", "list", "--json"]) == 0
    (left,) = json.loads(capsys.readouterr().out)
    assert (left["question"], left["snapshot"]) == ("who wrote this?", 3)
    assert run(["recorded", "forget", "--all"]) == 0
    assert not store.files("recorded")


@pytest.mark.parametrize("arguments", [[], ["some", "--all"]])
def test_what_to_forget_must_be_said(store: Store, arguments: list[str]) -> None:
    assert run(["recorded", "forget", *arguments]) == 2

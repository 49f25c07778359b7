"""`realm model train-reader` on a tiny base, and what the two commands that use it then do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from realm.cli import model as commands
from realm.errors import InvalidInput, NotFound, RealmError
from realm.model.base import load_base
from realm.model.checkpoint import new_model
from realm.model.starter import load_starter
from tests.tiny import write_base

TOLD = [{"id": f"d{n}", "title": "t", "text": f"the town {n} was in the river."} for n in range(20)]
ASKED = [
    {"question": f"what was {n}?", "answers": [f"town {n}"], "document_id": f"d{n}"}
    for n in range(20)
]


@pytest.fixture(autouse=True)
def same_threads_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, rows in (("documents", TOLD), ("more", TOLD[:3]), ("questions", ASKED)):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    monkeypatch.setenv("REALM_BASE_MODEL", str(write_base(tmp_path / "base")))
    monkeypatch.setenv("REALM_THREADS", "1")
    monkeypatch.setenv("REALM_DEVICE", "cpu")
    return tmp_path


def train(folder: Path, *more: object) -> Result:
    app = typer.Typer()
    commands.register(app)
    arguments = [
        *("--documents", folder / "documents.jsonl", folder / "more.jsonl"),
        *("--questions", folder / "questions.jsonl", "--to", folder / "starter", *more),
    ]
    result = CliRunner().invoke(app, ["model", "train-reader", *map(str, arguments)])
    if isinstance(result.exception, RealmError):
        raise result.exception
    return result


def test_a_reader_is_trained_and_fits_its_base(folder: Path) -> None:
    result = train(folder, "--epochs", 1, "--batch", 4, "--span-width", 7, "--licence", "ours")
    assert result.exit_code == 0, result.output
    assert "a starter of" in result.output
    base = load_base(folder / "base")
    starter = load_starter(base.config.base_sha256, folder / "starter")
    assert starter is not None
    assert starter.max_span_width == 7
    expected = new_model(base).reader.state_dict()
    for name, tensor in starter.weights().items():
        assert tensor.shape == expected[name].shape
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["licence_of_data"] == "ours"
    names = [one["name"] for one in card["data"]]
    assert names == ["documents.jsonl", "more.jsonl", "questions.jsonl"]
    assert card["command"].startswith(
        "realm model train-reader --documents documents.jsonl more.jsonl --questions"
    )
    assert str(folder) not in json.dumps(card)


def test_training_goes_on_from_a_starter_and_its_card_says_so(folder: Path) -> None:
    options = ("--epochs", 1, "--batch", 4, "--span-width", 7)
    assert train(folder, *options).exit_code == 0
    (folder / "starter").rename(folder / "first")
    # At such a rate no weight moves by as much as float16 can tell.
    slow = ("--lr", 1e-12, "--head-lr", 1e-12)
    assert train(folder, *options, *slow, "--from", folder / "first").exit_code == 0
    base = load_base(folder / "base").config.base_sha256
    first, second = load_starter(base, folder / "first"), load_starter(base, folder / "starter")
    assert first is not None
    assert second is not None
    again = second.weights()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.weights().items())
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["continues"]["sha256"] == first.sha256
    assert card["continues"]["training"]["steps"] > 0
    assert "--from first" in card["command"]
    with pytest.raises(NotFound, match="has no starter for the base"):
        train(folder, *options, "--from", folder)


def test_a_rate_of_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="give --lr and --head-lr above 0"):
        train(folder, "--lr", 0)


def test_cloze_and_no_answer_are_part_of_plan_and_command(folder: Path) -> None:
    stories = [
        {"id": f"s{n}", "title": "t", "text": f"In the long war {n} of old Arden held the town."}
        for n in range(12)
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in stories)
    (folder / "stories.jsonl").write_text(lines)
    options = ("--epochs", 1, "--batch", 4, "--span-width", 7, "--negatives", 0.5)
    more = ("--cloze", 0.5, "--cloze-documents", folder / "stories.jsonl", "--no-answer", 0.25)
    assert train(folder, *options, *more).exit_code == 0
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["cloze_lessons"] > 0
    assert card["answers"]["null"]
    assert "--cloze-documents stories.jsonl" in card["command"]
    assert "--negatives 0.5" in card["command"]
    assert "--no-answer 0.25" in card["command"]
    assert "stories.jsonl" in [one["name"] for one in card["data"]]


def test_without_epochs_a_starter_is_only_measured(folder: Path) -> None:
    assert train(folder, "--epochs", 1, "--batch", 4, "--span-width", 7).exit_code == 0
    (folder / "starter").rename(folder / "first")
    again = ("--epochs", 0, "--span-width", 7, "--from", folder / "first")
    assert train(folder, *again).exit_code == 0
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["training"]["steps"] == 0
    assert card["continues"]["training"]["steps"] > 0
    assert set(card["held_out"]["calibration_error"]) == {"before", "after"}

"""`realm snapshots`, `gc`, `recorded` and `corpus verify-erased`, on a store in a folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.recorded_questions import RecordedQuestion, RecordedQuestions
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from tests.tiny import write_base
from tests.unit.cli.conftest import Shell, run

NOBODY = "127.0.0.1:1"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("REALM_REDIS_URL", f"redis://{NOBODY}/0")
    monkeypatch.setenv("REALM_QDRANT_URL", f"http://{NOBODY}")
    return Store.open(str(tmp_path / "store"))


def test_a_base_is_published_listed_shown_and_pinned(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "a-base")
    assert run(["snapshots", "publish", str(base)]) == 0
    assert "snapshot 1: a-base, 32 dimensions, cls pooling" in capsys.readouterr().out
    assert run(["snapshots", "publish", str(base), "--step", "7", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["snapshot"], made["step"], made["vector_size"]) == (2, 7, 32)
    assert run(["snapshots", "pin", "1", "--reason", "for the paper"]) == 0
    assert Snapshots(store).pinned() == {1: "for the paper"}
    capsys.readouterr()
    assert run(["snapshots", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert lines[2].rstrip().endswith("pinned")
    assert run(["snapshots", "show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "for the paper" in shown
    assert "passage_encoder.safetensors" in shown
    assert run(["snapshots", "unpin", "1"]) == 0
    assert Snapshots(store).pinned() == {}


def test_a_published_snapshot_s_folder_may_be_published_again(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["snapshots", "publish", str(write_base(tmp_path / "base"))])
    first = Snapshots(store).get(1)
    assert store.root is not None
    assert run(["snapshots", "publish", str(store.root / first.folder)]) == 0
    second = Snapshots(store).get(2)
    assert second.files == first.files
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["publish", "/no/such/folder"], "there is no base folder"),
        (["show", "3"], "snapshot 3 is not in the store"),
        (["pin", "3"], "snapshot 3 is not in the store"),
    ],
)
def test_what_is_not_there_is_named(
    store: Store, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["snapshots", *arguments]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["snapshots", "list"],
        ["gc"],
        ["recorded", "list"],
        ["corpus", "verify-erased", "document-1"],
        ["report", "--html", "page.html"],
    ],
)
def test_a_wrong_path_is_no_empty_store(
    store: Store, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--store", str(tmp_path / "typo")]) == 1
    assert f"there is no store in {tmp_path / 'typo'}" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_the_folder_of_make_run_will_do_for_its_store(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    Snapshots(store).publish(model, step=1, fingerprint="f", vector_size=2)
    assert run(["snapshots", "list", "--store", str(tmp_path), "--json"]) == 0
    assert [each["snapshot"] for each in json.loads(capsys.readouterr().out)] == [1]


def test_publishing_into_a_new_store_is_told(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = str(tmp_path / "elsewhere")
    assert run(["snapshots", "publish", str(write_base(tmp_path / "base")), "--store", new]) == 0
    assert f"{new} is a new store" in capsys.readouterr().err


def test_gc_shows_what_would_go_and_asks_the_leader(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for _ in range(2):
        Snapshots(store).publish(folder, step=1, fingerprint="f", vector_size=2)
    made = Generation(1, 2, 1, 1, "f", 2, (), collection_name(1), time.time(), "")
    Generations(store).create(made)
    Generations(store).record(1, State.LIVE)
    store.write("passages/f/001-000/old.arrow", bytes(2048))
    assert run(["gc", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "2.0 KiB" in said.out
    assert "no index is made of this file" in said.out
    assert "collections are left out" in said.err
    assert store.exists("passages/f/001-000/old.arrow")
    assert not store.exists("control/gc.json")
    assert run(["gc", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["kind"] for each in found} == {"passages", "snapshot"}
    assert store.exists("control/gc.json")


def test_without_qdrant_nothing_is_proven_erased(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["corpus", "verify-erased", "document-1"]) == 1
    assert "Qdrant" in capsys.readouterr().err


async def test_a_refused_generation_is_forced_by_somebody(realm: Shell) -> None:
    done: Any = await realm("generations", "commit", "1", "--force", "--reason", "it must be")
    assert (done.code, done.out) == (
        0,
        "building a new generation from snapshot 2, whatever the gate finds\n",
    )
    assert realm.indexer.refreshes == ["it must be"]


def test_questions_are_listed_and_forgotten(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
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

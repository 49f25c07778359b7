"""`realm eval` on a tiny snapshot, and its refusals."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from realm.cli import eval as eval_command
from realm.errors import Corrupt, FailedPrecondition, InvalidInput, NotFound
from realm.model import starter
from realm.model.base import load_base
from realm.model.publishing import publish_model
from realm.model.starter import write_starter
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from tests.tiny import letter_model, write_base

DOCUMENTS = [{"id": f"d{n}", "title": "t", "text": f"pig {n} ran."} for n in range(5)]
QUESTIONS = [
    {"question": f"who ran on {n}?", "answers": [f"pig {n}"], "document_id": f"d{n}"}
    for n in range(3)
]


@pytest.fixture(autouse=True)
def same_threads_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "documents.jsonl", DOCUMENTS)
    write(tmp_path / "questions.jsonl", QUESTIONS)
    store = Store.open(str(tmp_path / "store"))
    publish_model(Snapshots(store), letter_model(), step=40)
    return tmp_path


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    eval_command.register(app)
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def on(folder: Path, *more: object, documents: str = "documents.jsonl") -> Result:
    return run(
        *("--documents", folder / documents, "--questions", folder / "questions.jsonl"),
        *("--store", folder / "store", *more),
    )


def test_snapshot_is_measured_into_a_file_and_a_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALM_THREADS", "1")
    result = on(folder, "--snapshot", "latest", "--json", folder / "e.json", "--passages", 2)
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "e.json").read_text())
    assert report["system"] == "snapshot-1"
    assert report["model"]["step"] == 40
    assert report["documents"]["r@5"] == 1.0
    assert report["machine"]["threads"] == 1
    assert report["passages_read"] == 2
    assert "R@5 by document" in result.stdout
    assert "passages" in result.stderr


def test_questions_about_documents_that_were_not_given_are_reported(folder: Path) -> None:
    write(folder / "questions.jsonl", [*QUESTIONS, {"question": "who?", "document_id": "gone"}])
    result = on(folder, "--snapshot", 1)
    assert result.exit_code == 0, result.output
    assert "1 of 4 questions name a document that was not given" in result.stderr
    assert "gone" in result.stderr


def test_a_wrong_store_is_told(folder: Path) -> None:
    with pytest.raises(NotFound, match="there is no store in"):
        raise_error(on(folder, "--snapshot", 1, "--store", folder / "typo"))


def test_limit_and_several_files_after_one_option(folder: Path) -> None:
    write(folder / "more.jsonl", [{"id": "d9", "title": "t", "text": "pig 9 ran."}])
    files = [folder / "documents.jsonl", folder / "more.jsonl"]
    result = run(
        *("--documents", *files, "--questions", folder / "questions.jsonl"),
        *("--store", folder / "store", "--snapshot", 1),
        *("--limit", 2, "--json", folder / "e.json"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "e.json").read_text())
    assert (report["questions"], report["documents_given"]) == (2, 6)


def test_unusable_documents_are_told_by_line_and_the_rest_goes_on(folder: Path) -> None:
    with (folder / "documents.jsonl").open("a") as file:
        file.write("no json\n")
    result = on(folder, "--snapshot", 1)
    assert result.exit_code == 0, result.output
    assert f"left out: {folder / 'documents.jsonl'}:6: not JSON" in result.stderr


@pytest.mark.parametrize(
    ("more", "name", "retrieval"),
    [
        (("--system", "bm25"), "bm25", "bm25"),
        (("--system", "hybrid"), "hybrid", "hybrid"),
        (("--snapshot", "1", "--retrieval", "bm25"), "snapshot-1 (bm25)", "bm25"),
    ],
)
def test_words_may_choose_the_passages(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    name: str,
    retrieval: str,
) -> None:
    monkeypatch.setenv("REALM_BASE_MODEL", str(write_base(folder / "base")))
    monkeypatch.setenv("REALM_PASSAGE_TOKENS", "96")
    monkeypatch.setenv("REALM_READER_TOKENS", "160")
    result = on(folder, *more, "--json", folder / "e.json")
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "e.json").read_text())
    assert (report["system"], report["retrieval"]) == (name, retrieval)
    if retrieval == "bm25":
        assert report["documents"]["r@1"] == 1.0


def test_no_starter_leaves_the_shipped_reader_aside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_base(folder / "base")
    sha256 = load_base(base).config.base_sha256
    card = {"base_sha256": sha256, "span_hidden_size": 256, "max_span_width": 12}
    write_starter(folder / "starter", {"qa_outputs.layer_normalization.bias": torch.ones(1)}, card)
    monkeypatch.setattr(starter, "SHIPPED", folder / "starter")
    monkeypatch.setenv("REALM_BASE_MODEL", str(base))
    monkeypatch.setenv("REALM_PASSAGE_TOKENS", "96")
    monkeypatch.setenv("REALM_READER_TOKENS", "160")
    assert isinstance(on(folder).exception, Corrupt)
    result = on(folder, "--no-starter", "--json", folder / "e.json")
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "e.json").read_text())["system"] == "base"


@pytest.mark.parametrize(
    ("more", "kind", "says"),
    [
        (("--system", "nobody"), InvalidInput, "no system 'nobody'"),
        (("--snapshot", "new"), InvalidInput, "neither a number nor latest"),
        (("--snapshot", "7"), NotFound, "snapshot 7"),
        (("--snapshot", "1", "--json", "/nowhere/e.json"), InvalidInput, "cannot be written"),
        (("--snapshot", "1", "--system", "hybrid"), InvalidInput, "give one of them.*--retrieval"),
        (("--system", "bm25", "--model", "dpr"), InvalidInput, "goes with --system ict"),
        (("--snapshot", "1", "--model", "dpr"), InvalidInput, "goes with --system ict"),
        (
            ("--system", "closed-book", "--model", "t5", "--retrieval", "bm25"),
            InvalidInput,
            "leave --retrieval out",
        ),
    ],
)
def test_refusals_are_sentences(
    folder: Path, more: tuple[str, ...], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        raise_error(on(folder, *more))


def test_empty_store_has_no_latest_snapshot(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(NotFound, match="no snapshot yet"):
        raise_error(on(folder, "--store", folder / "empty", "--snapshot", "latest"))


def test_missing_and_empty_document_files_are_sentences(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        raise_error(on(folder, documents="absent.jsonl"))
    (folder / "empty.jsonl").touch()
    with pytest.raises(InvalidInput, match="no document in"):
        raise_error(on(folder, documents="empty.jsonl"))


def test_missing_package_names_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def without_torch(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "torch" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    with pytest.raises(FailedPrecondition, match=r"needs torch: pip install 'realm\[model\]'"):
        raise_error(on(folder))


def raise_error(result: Result) -> None:
    assert result.exception is not None, result.output
    raise result.exception

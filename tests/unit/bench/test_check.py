"""`python -m bench check FILE`, and what a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.claims import Claim, Result
from bench.harness import Bench, Context
from bench.history.events import EVENTS, Begun, Seen
from bench.history.promises import Promise
from bench.history.recorder import Recorder
from realm.errors import DependencyUnavailable
from tests.unit.bench.history.histories import Story

A = Seen("a", 1, 0)


def history(folder: Path, *, partial: bool) -> Path:
    story = Story()
    story.events.insert(0, Begun("swap", 7, {}))
    story.upsert("a", 0, (0, 1), version=1)
    story.search("a", 0, (2, 3), claims=1, sees=[] if partial else [A])
    story.end(10.0, A)
    file = folder / "history.jsonl"
    file.write_bytes(b"".join(EVENTS.dump_json(each) + b"\n" for each in story.events))
    return file


def test_a_history_is_checked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(history(tmp_path, partial=False))]) == 0
    said = capsys.readouterr().out
    assert "of swap, seed 7" in said
    assert "0 violations, 0 gaps" in " ".join(said.split())


def test_what_breaks_a_promise_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(history(tmp_path, partial=True))]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"{int(Promise.WHOLE)}. {Promise.WHOLE.sentence}" in said
    assert "a was written at version 1" in said


def test_a_file_that_is_no_history_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").write_text("no\nhistory\n")
    assert main(["check", str(tmp_path / "notes")]) == 2
    assert "line 1 is no event" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "nothing")]) == 2


@pytest.mark.parametrize("end", ["holds", "fails", "breaks off"])
def test_a_run_that_fails_leaves_its_history_and_seed_and_says_where(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: str,
) -> None:
    folders: list[Path] = []

    def observe(parameters: Context, context: Context) -> None:
        folders.append(context.folder)
        with Recorder(context.history) as recorder:
            recorder.record(Begun(context.bench, context.seed, context.parameters))
        if end == "breaks off":
            raise DependencyUnavailable("no Redis")

    made = Bench(
        description="",
        full=Context(tmp_path, 0),
        quick=Context(tmp_path, 0),
        observe=observe,
        judge=lambda *_: Result({}, [Claim("it holds", 0, "", end == "holds")]),
    )
    monkeypatch.setattr("bench.swap.program.BENCH", made)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["swap", "--seed", "5"]) == (end != "holds")
    (folder,) = folders
    said = capsys.readouterr().err
    assert folder.exists() == (end != "holds")
    if end != "holds":
        assert f"(seed 5): {folder}" in said
        assert f"bench check {folder / 'history.jsonl'}" in said
        assert b'"seed":5' in (folder / "history.jsonl").read_bytes()

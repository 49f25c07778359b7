"""`realm up`: what its options mean, before it becomes the cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from realm.cli.main import app
from realm.cli.up import Options, read_options
from realm.errors import InvalidInput


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "notes").mkdir()
    return tmp_path


def up(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Options:
    """What the cluster is given."""
    given: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, line: given.append(line[-1]))
    CliRunner().invoke(app, ["up", *arguments], catch_exceptions=False)
    return read_options(given[0])


def test_a_tilde_is_home_though_the_shell_left_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `make run CORPUS=~/notes` does where the shell is no bash."""
    made = up(monkeypatch, "--follow", "--corpus", "~/notes", "--store", "~/store")
    assert made.folders == [home / "notes"]
    assert made.store == home / "store"


def test_what_is_no_folder_cannot_be_followed_and_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match=f"which names {home}/elsewhere"):
        up(monkeypatch, "--follow", "--corpus", "~/elsewhere")
    with pytest.raises(InvalidInput, match="which names nothing"):
        up(monkeypatch, "--follow")

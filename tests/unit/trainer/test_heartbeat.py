"""A beat makes the file young again; no file is made where none is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.trainer.heartbeat import Heartbeat


def test_a_beat_touches_the_file(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    heartbeat = Heartbeat(str(file))
    heartbeat.beat()
    os.utime(file, (1, 1))
    heartbeat.beat()
    assert file.stat().st_mtime > 1


def test_without_a_file_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Heartbeat("").beat()
    assert list(tmp_path.iterdir()) == []

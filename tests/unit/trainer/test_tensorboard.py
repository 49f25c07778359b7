"""Figures for TensorBoard: one chart an objective and figure, readable by its own format."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from realm.errors import BadSettings
from services.trainer.tensorboard import Board


def written(folder: Path) -> dict[tuple[str, int], float]:
    """(chart, step) → figure, of the records in all event files."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.iterdir():
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def test_figures_are_written_by_objective_and_step(tmp_path: Path) -> None:
    board = Board(str(tmp_path / "board"))
    board.write("masked_lm", {"loss": 2.0, "retrieval_utility": 0.5}, 3)
    board.write("masked_lm", {"loss": 1.0}, 4)
    board.close()
    found = written(tmp_path / "board")
    assert found["masked_lm/loss", 3] == 2.0
    assert found["masked_lm/loss", 4] == 1.0
    assert found["masked_lm/retrieval_utility", 3] == 0.5


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = Board("")
    board.write("x", {"loss": 1.0}, 1)
    board.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(BadSettings, match="pip install"):
        Board(str(tmp_path))

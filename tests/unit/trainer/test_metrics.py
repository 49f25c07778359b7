"""TensorBoard: one chart per objective and figure, in its own file format."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from realm.errors import BadSettings
from services.trainer.metrics import TensorBoardWriter


def test_figures_are_written_by_objective_and_step(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    board = TensorBoardWriter(str(tmp_path / "board"))
    board.write("masked_lm", {"loss": 2.0, "retrieval_utility": 0.5}, 3)
    board.close()
    found: dict[tuple[str, int], float] = {}
    for path in (tmp_path / "board").iterdir():
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    assert found == {("masked_lm/loss", 3): 2.0, ("masked_lm/retrieval_utility", 3): 0.5}


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = TensorBoardWriter()
    board.write("x", {"loss": 1.0}, 1)
    board.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(BadSettings, match="pip install"):
        TensorBoardWriter(str(tmp_path))

"""The base under evaluation and the trainer's origin: with the starter, or as settings say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from realm.evaluation.systems import base_system
from realm.model import starter
from realm.model.base import load_base
from realm.model.reader import Reader
from realm.model.starter import write_starter
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.trainer.checkpoints import Checkpoints
from services.trainer.origin import find_origin
from tests import tiny

HEAD = "qa_outputs.layer_normalization.bias"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base for which a starter is shipped."""
    folder = tiny.write_base(tmp_path / "base")
    sha256 = load_base(folder).config.base_sha256
    card = {"base_sha256": sha256, "span_hidden_size": 256, "max_span_width": 12}
    write_starter(tmp_path / "starter", {HEAD: torch.full((256,), 0.5)}, card)
    monkeypatch.setattr(starter, "SHIPPED", tmp_path / "starter")
    return folder


def begins_with_starter(reader: Reader) -> bool:
    return torch.equal(reader.state_dict()[HEAD], torch.full((256,), 0.5))


@pytest.mark.parametrize("wanted", [True, False])
def test_evaluation_and_trainer_begin_with_the_starter_unless_told_not_to(
    base: Path, tmp_path: Path, wanted: bool
) -> None:
    settings = tiny.settings(base_model=str(base), starter=wanted)
    measured = base_system(settings, torch.device("cpu"), torch.float32)
    store = Store.open(str(tmp_path / "store"))
    trained = find_origin(settings, Checkpoints(store), Snapshots(store)).model
    assert begins_with_starter(measured.reader) == begins_with_starter(trained.reader) == wanted
    assert trained.config.max_span_width == (12 if wanted else 10)

"""Two processes that torchrun starts learn what one does from the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from realm.training.distributed import ALONE, World, join
from tests import tiny
from tests.unit.training import ddp_worker

ROOT = Path(__file__).parents[3]
LIMIT = 120.0
#: They shift all logits of a softmax alike: their gradient is 0 but for rounding, which Adam makes
#: as large as any other.
SHIFTS = {"reader.qa_outputs.layer_normalization.bias", "reader.qa_outputs.dense_output.bias"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ddp")
    tiny.write_base(made / "base")
    return made


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Tensor]]:
    """What each of two processes has become."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=2", "-m", "tests.unit.training.ddp_worker", str(folder)]
    environment = {name: v for name, v in os.environ.items() if not name.startswith("REALM_")}
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_two_processes_become_what_one_does(folder: Path, ranks: list[dict[str, Tensor]]) -> None:
    alone, losses = ddp_worker.train(folder, ALONE)
    before = ddp_worker.weights(tiny.make_model(folder / "base"))
    after = ddp_worker.weights(alone)
    moved = max((after[name] - before[name]).abs().max().item() for name in after)
    assert moved > 1e-3
    compared = [name for name in after if name not in SHIFTS]
    for found in ranks:
        assert found["size"] == 2
        assert found["losses"].tolist() == pytest.approx(losses, abs=1e-5)
        apart = max((after[name] - found[name]).abs().max().item() for name in compared)
        # Adam takes a gradient that is little more than rounding for as large as any.
        assert apart < 5e-5


def test_processes_are_equal_to_the_last_bit(ranks: list[dict[str, Tensor]]) -> None:
    first, second = ranks
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_the_leader_says_all_hear(ranks: list[dict[str, Tensor]]) -> None:
    assert [int(found["told"]) for found in ranks] == [0, 0]


def test_one_that_diverges_stops_all(ranks: list[dict[str, Tensor]]) -> None:
    assert all(found["diverged"] for found in ranks)


def test_without_torchrun_the_world_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join(torch.device("cpu"))
    assert world == World()
    assert world.share({"a": 1}) == {"a": 1}
    assert world.all_agree(True)
    assert not world.all_agree(False)

import os
from collections.abc import Iterator

import pytest
import torch

from realm.errors import BadSettings
from realm.model.runtime import best_dtype, pick_device, set_threads


@pytest.fixture
def threads_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_restored")
def test_one_number_sets_the_threads_of_torch_and_tokenizers() -> None:
    set_threads(2)
    assert torch.get_num_threads() == 2
    assert os.environ["RAYON_NUM_THREADS"] == "2"


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(BadSettings, match="0"):
        set_threads(0)


def test_cpu_is_taken_when_asked_for() -> None:
    assert pick_device("cpu") == torch.device("cpu")


def test_auto_takes_what_there_is() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("setting", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_is_refused_where_there_is_none(setting: str) -> None:
    with pytest.raises(BadSettings, match="0 CUDA devices"):
        pick_device(setting)


@pytest.mark.parametrize("setting", ["tpu", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused(setting: str) -> None:
    with pytest.raises(BadSettings, match="not one of"):
        pick_device(setting)


def test_best_dtype_is_one_that_the_processor_computes_in() -> None:
    dtype = best_dtype(torch.device("cpu"))
    assert dtype in (torch.bfloat16, torch.float32)
    square = torch.eye(4, dtype=dtype)
    assert torch.equal(square @ square, square)

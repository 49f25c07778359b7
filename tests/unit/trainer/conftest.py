"""The tiny base on disk, and a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.model.checkpoint import Model
from realm.records.store import Store
from tests import tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def model(base: Path) -> Model:
    return tiny.make_model(base)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))

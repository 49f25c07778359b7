"""The tiny model in eval mode, and the towns as its corpus."""

from __future__ import annotations

import pytest

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    made = tiny.make_model(tiny.write_base(tmp_path_factory.mktemp("base")))
    made.retriever.eval()
    made.reader.eval()
    return made


@pytest.fixture(scope="module")
def corpus(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs)

"""The packaged multilingual base: its words, and that it finds across languages."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from tokenizers import Tokenizer

from realm.errors import Corrupt, DependencyUnavailable
from realm.model import multilingual
from realm.model.base import load_base
from realm.model.checkpoint import Model, new_model
from realm.model.frozen_encoder import encode
from realm.model.inputs import InputBuilder, Prompts

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(multilingual.PACKAGE) is None,
    reason="realm[multilingual] is not installed",
)
PASSAGES = [
    "The Eiffel Tower in Paris was built in 1889.",
    "Photosynthesis turns light into chemical energy in plants.",
    "The stock exchange closed lower on Friday.",
]
QUESTIONS = [
    "埃菲尔铁塔是什么时候建成的？",
    "كيف تحول النباتات الضوء إلى طاقة؟",
    "Wie schloss die Börse?",
]


@pytest.fixture(scope="module")
def model() -> Model:
    return new_model(multilingual.NAME)


@needs_package
def test_questions_in_other_languages_find_their_passages(model: Model) -> None:
    inputs, tower = model.inputs, model.retriever.passage
    passages = [inputs.passage([], inputs.tokenize(each)[0]) for each in PASSAGES]
    asked = [inputs.query(each) for each in QUESTIONS]
    scores = encode(tower, asked, inputs.pad) @ encode(tower, passages, inputs.pad).T
    assert np.array_equal(scores.argmax(axis=1), [0, 1, 2])


@needs_package
def test_it_is_a_plain_bert_with_its_own_prompts_and_words(model: Model) -> None:
    config = model.config
    assert (config.embedding_size, config.base.num_hidden_layers) == (384, 12)
    assert (config.pooling, config.normalize, config.base.architecture) == ("mean", True, "")
    assert config.prompts == Prompts("query: ", "passage: ")
    assert model.retriever.scale.item() == pytest.approx(100)
    # XLM-R's: ▁que ry : ▁Hello ▁world !
    ids = [0, 41, 1294, 12, 35378, 8999, 38, 2]
    assert model.inputs.query("Hello world!").ids == ids


@needs_package
def test_a_snapshot_of_it_has_its_fingerprint(model: Model) -> None:
    """Else every service would cut passages under another name than the snapshot's."""
    inputs = model.inputs
    again = Tokenizer.from_str(inputs.tokenizer.to_str())
    read = InputBuilder(again, inputs.limits, inputs.prompts, inputs.scripts)
    assert read.fingerprint == inputs.fingerprint


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multilingual, "PACKAGE", "no_such_package")
    with pytest.raises(DependencyUnavailable, match=r"realm\[multilingual\]"):
        load_base(multilingual.NAME)


@needs_package
def test_another_file_in_its_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multilingual, "SHA256", "0" * 64)
    with pytest.raises(Corrupt, match="published one 0000"):
        load_base(multilingual.NAME)

"""The shipped reader: applied where it belongs, refused when altered."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from realm.errors import Corrupt
from realm.model import starter
from realm.model.base import DEFAULT_SHA256, Base
from realm.model.checkpoint import new_model
from realm.model.config import AnswerRules
from realm.model.starter import CARD_FILE, SHIPPED, WEIGHTS_FILE, load_starter, write_starter
from tests.tiny import eiffel_model, span_head

CARD = {"base_sha256": "b" * 64, "span_hidden_size": 8, "max_span_width": 7}
FITTED = {"scale": 14.0, "word_weight": 0.9, "coverage": True}
HEAD = "qa_outputs.dense_output.weight"


def tiny_base(sha256: str = "b" * 64) -> Base:
    model = eiffel_model()
    weights = model.retriever.passage.backbone.state_dict()
    config = dataclasses.replace(model.config, base_sha256=sha256)
    return Base(config, dict(weights), {}, model.inputs.tokenizer)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a starter for `tiny_base`, in place of the package's own."""
    write_starter(tmp_path, {HEAD: torch.full((1, 8), 0.25)}, CARD)
    monkeypatch.setattr(starter, "SHIPPED", tmp_path)
    return tmp_path


def test_a_new_model_of_its_base_begins_with_the_starter(shipped: Path) -> None:
    model, fresh = new_model(tiny_base()), new_model(tiny_base(), starter=False)
    assert model.config.max_span_width == model.reader.qa_outputs.max_span_width == 7
    assert fresh.config.max_span_width == 5
    assert torch.equal(model.reader.state_dict()[HEAD], torch.full((1, 8), 0.25))
    others = fresh.reader.state_dict()
    assert not torch.equal(others[HEAD], torch.full((1, 8), 0.25))
    for name, tensor in model.reader.state_dict().items():
        assert tensor.dtype == torch.float32
        assert name == HEAD or torch.equal(tensor, others[name])


def test_how_its_scores_become_probabilities_comes_with_it(tmp_path: Path) -> None:
    rules = AnswerRules(null=True, slope=0.7, offset=-0.25)
    write_starter(tmp_path, {}, CARD | {"answers": dataclasses.asdict(rules)})
    found = load_starter("b" * 64, tmp_path)
    assert found is not None
    assert found.answers == rules
    write_starter(tmp_path, {}, CARD | {"answers": {"null": True, "slope": -1.0}})
    with pytest.raises(Corrupt, match="is not a starter's card"):
        load_starter("b" * 64, tmp_path)


def test_a_starter_with_a_head_for_passages_brings_it_along(tmp_path: Path) -> None:
    write_starter(
        tmp_path,
        {"passage_scores.weight": torch.full((1, 16), 0.5), "passage_scores.bias": torch.ones(1)},
        CARD | {"passage_scores": True},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starter, "SHIPPED", tmp_path)
        model = new_model(tiny_base())
    assert model.config.passage_scores
    head = model.reader.passage_scores
    assert head is not None
    assert head.bias.item() == 1.0


def test_its_relevance_is_that_of_vectors_as_the_base_makes_them(shipped: Path) -> None:
    write_starter(shipped, {}, CARD | {"relevance": FITTED})
    found = new_model(tiny_base()).retriever.relevance
    assert (found.scale, found.word_weight) == pytest.approx((14.0, 0.9))
    plain = new_model(tiny_base(), coverage=False).retriever.relevance
    assert plain == new_model(tiny_base(), starter=False, coverage=False).retriever.relevance
    fresh = new_model(tiny_base(), starter=False).retriever.relevance
    assert new_model(tiny_base(), vector_size=4).retriever.relevance == fresh
    assert new_model(tiny_base(), scale_init=3.0).retriever.relevance.scale == pytest.approx(3.0)


def test_overrides_win(shipped: Path) -> None:
    assert new_model(tiny_base(), max_span_width=3).config.max_span_width == 3
    wider = new_model(tiny_base(), span_hidden_size=12)
    assert span_head(wider).dense_output.weight.shape == (1, 12)
    assert wider.config.max_span_width == 5


def test_another_base_or_no_card_begins_without(shipped: Path, tmp_path: Path) -> None:
    assert load_starter("b" * 64, tmp_path / "empty") is None
    assert load_starter("c" * 64, shipped) is None
    assert new_model(tiny_base("c" * 64)).config.max_span_width == 5


def test_an_altered_or_missing_file_is_refused(shipped: Path) -> None:
    file = shipped / WEIGHTS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Corrupt, match="its card says"):
        new_model(tiny_base())
    file.unlink()
    with pytest.raises(Corrupt, match="is missing"):
        new_model(tiny_base())
    assert new_model(tiny_base(), starter=False).config.max_span_width == 5


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"base_sha256": "b"}'])
def test_an_unreadable_card_is_refused(shipped: Path, text: str) -> None:
    (shipped / CARD_FILE).write_text(text)
    with pytest.raises(Corrupt, match="not a starter's card"):
        new_model(tiny_base())


def test_weights_that_are_not_the_readers_are_refused(shipped: Path) -> None:
    write_starter(shipped, {"qa_outputs.other": torch.zeros(2)}, CARD)
    with pytest.raises(Corrupt, match=r"qa_outputs\.other is not part of the model"):
        new_model(tiny_base())


def test_the_shipped_starter_fits_the_default_base_and_is_small(minilm: Base) -> None:
    found = load_starter(DEFAULT_SHA256)
    assert found is not None
    assert (SHIPPED / WEIGHTS_FILE).stat().st_size <= 25_000_000
    weights = found.weights()
    model, fresh = new_model(minilm), new_model(minilm, starter=False)
    reader, untouched = model.reader.state_dict(), fresh.reader.state_dict()
    assert model.config.max_span_width == found.max_span_width
    for name, tensor in reader.items():
        expected = weights[name].float() if name in weights else untouched[name]
        assert torch.equal(tensor, expected), name
    for name, tensor in model.retriever.passage.state_dict().items():
        assert torch.equal(tensor, fresh.retriever.passage.state_dict()[name]), name
    fitted = found.relevance
    assert fitted is not None
    assert model.retriever.relevance.scale == pytest.approx(fitted.scale)
    assert model.retriever.relevance.word_weight == pytest.approx(fitted.word_weight)
    card = json.loads((SHIPPED / CARD_FILE).read_text())
    assert card["base_sha256"] == DEFAULT_SHA256
    assert {"command", "data", "licence_of_data", "held_out", "commit"} <= set(card)
    assert (SHIPPED / "README.md").is_file()

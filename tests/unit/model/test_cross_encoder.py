"""A cross-encoder scores as transformers does, and travels with the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from realm.errors import Corrupt, NotFound, Unsupported
from realm.model.checkpoint import load_model, write_model
from realm.model.cross_encoder import (
    CONFIG_FILE,
    FILES,
    CrossEncoder,
    load_cross_encoder,
    pair_text,
)
from realm.model.publishing import load_source, non_finite_parameter, with_settings
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.settings import load_settings
from tests.tiny import letter_model, write_base
from tests.unit.model.cross_encoders import write_cross_encoder

PAIRS = [
    ("who ran?", "one fox ran."),
    ("who ran?", "two hens sat, and sat on, and after that they sat for a long while"),
    ("what?", "a"),
]


def by_transformers(folder: Path, pairs: list[tuple[str, str]]) -> list[float]:
    """One pair at a time, by transformers' own tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = []
    for question, text in pairs:
        given = tokenizer(question, text, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**given).logits[0]
        scores.append(float(logits[0] if len(logits) == 1 else logits[1] - logits[0]))
    return scores


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_scores_are_those_of_transformers(tmp_path: Path, kind: str, outputs: int) -> None:
    folder = write_cross_encoder(tmp_path / kind, kind, outputs)
    found = load_cross_encoder(folder)
    expected = by_transformers(folder, PAIRS)
    assert found.scores(PAIRS) == pytest.approx(expected, abs=1e-4)
    assert found.scores(PAIRS, token_budget=1) == pytest.approx(expected, abs=1e-4)
    assert len(set(expected)) == len(expected), "it reads the passage"
    assert found.scores([]) == []


def test_a_pair_longer_than_the_model_is_cut(tmp_path: Path) -> None:
    found = load_cross_encoder(write_cross_encoder(tmp_path / "x", "bert", 1))
    long = "a fox ran " * 400
    assert found.scores([("who?", long)]) == found.scores([("who?", long + "and a hen sat")])


def test_it_lies_in_the_snapshot_and_comes_back_the_same(tmp_path: Path, store: Store) -> None:
    found = load_cross_encoder(write_cross_encoder(tmp_path / "reranker", "bert", 1), weight=0.5)
    model = dataclasses.replace(letter_model(), cross_encoder=found)
    write_model(tmp_path / "model", model)
    assert {each.name for each in (tmp_path / "model").iterdir()} >= set(FILES)
    again = load_model(tmp_path / "model").cross_encoder
    assert isinstance(again, CrossEncoder)
    assert again.config == found.config
    assert (again.config.name, again.config.weight) == ("reranker", 0.5)
    assert again.scores(PAIRS) == found.scores(PAIRS)
    assert with_settings(load_model(tmp_path / "model"), load_settings()).cross_encoder is not None
    snapshot = Snapshots(store).publish(tmp_path / "model", step=0, fingerprint="f", vector_size=16)
    assert set(FILES) <= set(snapshot.files), "of the one version, checksums and all"
    assert load_model(Snapshots(store).materialise(snapshot)).cross_encoder is not None


def test_a_model_without_one_has_no_file_of_it(tmp_path: Path) -> None:
    write_model(tmp_path, letter_model())
    assert not set(FILES) & {each.name for each in tmp_path.iterdir()}
    assert load_model(tmp_path).cross_encoder is None


def test_training_does_not_begin_to_move_it_and_spoilt_numbers_are_seen(tmp_path: Path) -> None:
    found = load_cross_encoder(write_cross_encoder(tmp_path / "x", "bert", 1))
    assert not any(each.requires_grad for each in found.model.parameters())
    model = dataclasses.replace(letter_model(), cross_encoder=found)
    assert non_finite_parameter(model) is None
    with torch.no_grad():
        next(found.model.parameters()).fill_(torch.nan)
    assert non_finite_parameter(model) is not None


def test_settings_name_the_one_that_a_new_model_has(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    folder = write_cross_encoder(tmp_path / "x", "bert", 1)
    made = load_source(base, load_settings(cross_encoder=str(folder)))
    assert made.cross_encoder is not None
    assert made.cross_encoder.scores(PAIRS) == load_cross_encoder(folder).scores(PAIRS)


def test_what_is_no_cross_encoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="classifier"):
        load_cross_encoder(write_base(tmp_path / "base"))
    with pytest.raises(Unsupported, match="3 classes"):
        load_cross_encoder(write_cross_encoder(tmp_path / "three", "bert", 3))
    with pytest.raises(NotFound):
        load_cross_encoder(tmp_path / "nowhere")


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    found = load_cross_encoder(write_cross_encoder(tmp_path / "x", "bert", 1))
    write_model(tmp_path / "model", dataclasses.replace(letter_model(), cross_encoder=found))
    (tmp_path / "model" / CONFIG_FILE).write_text("{}")
    with pytest.raises(Corrupt, match="cross-encoder"):
        load_model(tmp_path / "model")


def test_a_passage_is_read_with_its_title() -> None:
    assert pair_text("Foxes", "one ran") == "Foxes\none ran"
    assert pair_text("", "one ran") == "one ran"

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from realm.errors import BadSettings, Corrupt
from realm.model.base import Base
from realm.model.checkpoint import (
    CONFIG_FILE,
    Model,
    load_model,
    load_passage_encoder,
    load_query_encoder,
    load_reader,
    new_model,
    with_own_query_encoder,
    write_model,
)
from realm.model.config import Projection
from realm.model.frozen_encoder import encode
from realm.model.relevance import Relevance
from tests.tiny import span_head
from tests.unit.model.conftest import TINY


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(tensor, right[name]), name


def variant(base: Path | Base, **overrides: Any) -> Model:
    return new_model(base, lengths=TINY.lengths, **overrides)


def test_a_query_encoder_of_its_own_begins_as_the_passages_and_learns_apart(
    bert_folder: Path,
) -> None:
    model = variant(bert_folder)
    apart = with_own_query_encoder(model)
    assert not apart.config.shared_towers
    assert_same_weights(apart.retriever.query, model.retriever.query)
    assert torch.equal(apart.retriever.log_scale, model.retriever.log_scale)
    with torch.no_grad():
        next(apart.retriever.query.parameters()).mul_(3)
    assert_same_weights(apart.retriever.passage, model.retriever.passage)
    assert with_own_query_encoder(apart) is apart


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"shared_towers": False},
        {"pooling": "pooler", "projection": Projection(8)},
        {"projection": Projection(16, layer_norm=False, identity_start=True), "normalize": True},
    ],
)
def test_a_written_model_reads_back_bit_for_bit(
    bert_folder: Path, tmp_path: Path, overrides: dict[str, object]
) -> None:
    model = variant(bert_folder, **overrides)
    with torch.no_grad():
        model.retriever.log_scale.add_(0.125)
        model.retriever.word_weight.add_(0.25)
        next(model.retriever.query.parameters()).mul_(3)  # separate towers must stay separate
    folder = tmp_path / "snapshot"
    write_model(folder, model)

    loaded = load_model(folder)
    assert loaded.config == model.config
    assert loaded.inputs.fingerprint == model.inputs.fingerprint
    assert_same_weights(loaded.retriever, model.retriever)
    assert_same_weights(loaded.reader, model.reader)
    assert (loaded.retriever.query is loaded.retriever.passage) == model.config.shared_towers

    assert model.retriever.relevance.coverage
    query, passage = load_query_encoder(folder), load_passage_encoder(folder)
    texts = [model.inputs.query(text) for text in ("who wrote it", "she did .")]
    for served, tower in ((query, model.retriever.query), (passage, model.retriever.passage)):
        vectors = served.encoder.encode(texts)
        assert np.array_equal(vectors, encode(tower, texts, model.inputs.pad))
    assert query.relevance == passage.relevance == model.retriever.relevance
    assert query.relevance.word_weight == 1.25
    assert_same_weights(load_reader(folder), model.reader)


def test_writing_twice_gives_equal_bytes(tiny_model: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / name, tiny_model)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "config.json",
        "passage_encoder.safetensors",
        "reader.safetensors",
        "tokenizer.json",
    ]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_loaded_weights_outlive_their_files(tiny_model: Model, tmp_path: Path) -> None:
    write_model(tmp_path, tiny_model)
    reader = load_reader(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"")
    assert_same_weights(reader, tiny_model.reader)


def test_retriever_and_reader_own_their_weights(tiny_model: Model) -> None:
    ours = {p.data_ptr() for p in tiny_model.retriever.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in tiny_model.reader.parameters())


def test_fresh_heads_follow_from_the_seed_and_leave_global_randomness_alone(
    bert_folder: Path,
) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (variant(bert_folder, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_same_weights(first.reader, again.reader)
    spans = [span_head(m).dense_intermediate.weight for m in (first, other)]
    assert not torch.equal(*spans)


def test_an_unknown_override_is_refused(bert_folder: Path) -> None:
    with pytest.raises(BadSettings, match="colour"):
        variant(bert_folder, colour="red")


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "query_encoder.safetensors", "reader.safetensors"]
)
def test_a_missing_or_damaged_file_is_named(bert_folder: Path, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "snapshot"
    write_model(folder, variant(bert_folder, shared_towers=False))
    (folder / file).write_bytes(b"\x00garbage")
    with pytest.raises(Corrupt):
        load_model(folder)
    (folder / file).unlink()
    with pytest.raises(Corrupt, match=file):
        load_model(folder)


def test_an_encoder_without_its_scale_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    write_model(tmp_path, tiny_model)
    path = tmp_path / "passage_encoder.safetensors"
    weights = load_file(path)
    del weights["log_scale"]
    save_file(weights, path)
    with pytest.raises(Corrupt, match="log_scale"):
        load_query_encoder(tmp_path)


def test_an_encoder_of_an_earlier_release_weighs_words_by_one(
    tiny_model: Model, tmp_path: Path
) -> None:
    write_model(tmp_path, tiny_model)
    path = tmp_path / "passage_encoder.safetensors"
    weights = load_file(path)
    del weights["word_weight"]
    save_file(weights, path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    del config["coverage"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    before = Relevance(tiny_model.retriever.scale.item(), 1.0, coverage=False)
    assert load_query_encoder(tmp_path).relevance == before
    assert load_model(tmp_path).retriever.relevance == before


def test_weights_of_another_shape_than_the_config_are_named(
    tiny_model: Model, tmp_path: Path
) -> None:
    write_model(tmp_path, tiny_model)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"span_hidden_size": 8', '"span_hidden_size": 9'))
    with pytest.raises(Corrupt, match=r"qa_outputs\.dense_intermediate\.weight has shape"):
        load_reader(tmp_path)

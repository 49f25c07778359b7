import json
import os
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from realm.errors import Corrupt, DependencyUnavailable, NotFound, Unsupported
from realm.model import base as base_module
from realm.model.base import DEFAULT_SHA256, Base, load_base
from realm.model.checkpoint import (
    load_passage_encoder,
    load_query_encoder,
    new_model,
    write_model,
)
from realm.model.inputs import LEAST_WEIGHT, InputLimits, Prompts
from realm.model.publishing import load_source
from realm.settings import load_settings

POSITIONS = "bert.embeddings.position_ids"


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replaces weights, or removes those given as None; `__` in a name stands for a dot."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    for name, tensor in changes.items():
        dotted = name.replace("__", ".")
        if tensor is None:
            del weights[dotted]
        else:
            weights[dotted] = tensor
    save_file(weights, path)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def as_sentence_transformer(folder: Path, pooling: dict[str, object], *extra: str) -> None:
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for kind, path in [("Transformer", ""), ("Pooling", "1_Pooling"), *((k, k) for k in extra)]
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def test_the_default_base_is_the_published_minilm(minilm: Base) -> None:
    config = minilm.config
    assert config.base_sha256 == DEFAULT_SHA256
    assert (config.pooling, config.normalize, config.scale_init) == ("mean", True, 20.0)
    assert (config.embedding_size, config.base.num_hidden_layers) == (384, 6)
    assert config.lengths == InputLimits()
    assert not minilm.predictions


def test_another_file_in_the_default_bases_place_is_refused_naming_both_sums(
    bert_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "default_folder", lambda: bert_folder)
    with pytest.raises(Corrupt, match=f"has sha256 [0-9a-f]{{64}}, .*{DEFAULT_SHA256}"):
        load_base()


def test_a_plain_bert_pools_by_cls_and_brings_its_masked_lm_head(bert_folder: Path) -> None:
    config = load_base(bert_folder).config
    assert (config.pooling, config.normalize, config.scale_init) == ("cls", False, 1.0)
    assert config.base_name == "tiny-bert"
    stored = load_file(bert_folder / "model.safetensors")
    reader = new_model(bert_folder, lengths=InputLimits(32, 8, 16, 48)).reader
    assert torch.equal(reader.predictions.bias, stored["cls.predictions.bias"])


def test_lengths_are_cut_to_the_bases_positions(bert_folder: Path) -> None:
    assert load_base(bert_folder).config.lengths == InputLimits(64, 53, 55, 64)


def test_a_pickled_checkpoint_of_tensors_gives_the_same_weights(bert_folder: Path) -> None:
    expected = load_base(bert_folder).backbone
    weights = load_file(bert_folder / "model.safetensors")
    (bert_folder / "model.safetensors").unlink()
    torch.save(weights, bert_folder / "pytorch_model.bin")
    loaded = load_base(bert_folder).backbone
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


class Trap:
    """Unpickling it would make the folder that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_would_run_code_is_refused_unrun(bert_folder: Path, tmp_path: Path) -> None:
    (bert_folder / "model.safetensors").unlink()
    torch.save({"bert.weight": Trap(tmp_path / "sprung")}, bert_folder / "pytorch_model.bin")
    with pytest.raises(Corrupt, match=r"pytorch_model\.bin"):
        load_base(bert_folder)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_of_more_than_tensors_is_refused(bert_folder: Path) -> None:
    (bert_folder / "model.safetensors").unlink()
    torch.save({"bert.weight": [1.0]}, bert_folder / "pytorch_model.bin")
    with pytest.raises(Corrupt, match="other than named tensors"):
        load_base(bert_folder)


def test_tensorflow_names_of_layer_norm_are_understood(bert_folder: Path) -> None:
    weight = torch.rand(16)
    edit_weights(
        bert_folder,
        bert__embeddings__LayerNorm__weight=None,
        bert__embeddings__LayerNorm__gamma=weight,
    )
    assert torch.equal(load_base(bert_folder).backbone["embeddings.LayerNorm.weight"], weight)


@pytest.mark.parametrize(
    ("pooling_config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean", "include_prompt": True}, "mean"),
    ],
)
def test_sentence_transformers_pooling_and_normalisation_are_read(
    bert_folder: Path, pooling_config: dict[str, object], pooling: str
) -> None:
    as_sentence_transformer(bert_folder, pooling_config, "Normalize")
    config = load_base(bert_folder).config
    assert (config.pooling, config.normalize, config.scale_init) == (pooling, True, 20.0)


@pytest.mark.parametrize("mode", ["max_tokens", "mean_sqrt_len_tokens", "weightedmean"])
def test_other_pooling_is_refused(bert_folder: Path, mode: str) -> None:
    as_sentence_transformer(bert_folder, {f"pooling_mode_{mode}": True})
    with pytest.raises(Unsupported, match=mode.removesuffix("_tokens")):
        load_base(bert_folder)


def test_modules_that_realm_cannot_run_are_refused_by_name(bert_folder: Path) -> None:
    as_sentence_transformer(bert_folder, {"pooling_mode_mean_tokens": True}, "LSTM")
    with pytest.raises(Unsupported, match="LSTM"):
        load_base(bert_folder)


def test_bert_with_other_positions_is_refused(bert_folder: Path) -> None:
    edit_config(bert_folder, position_embedding_type="relative_key")
    with pytest.raises(Unsupported, match="other positions"):
        load_base(bert_folder)


def test_an_unknown_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        load_base(tmp_path / "nowhere")


def test_a_hub_that_cannot_be_reached_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DependencyUnavailable, match="some/bert"):
        load_base("some/bert")


@pytest.mark.parametrize("file", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_missing_file_is_named(bert_folder: Path, file: str) -> None:
    (bert_folder / file).unlink()
    with pytest.raises(Corrupt, match=file):
        load_base(bert_folder)


def test_a_truncated_weight_file_is_refused(bert_folder: Path) -> None:
    path = bert_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Corrupt, match=r"model\.safetensors"):
        load_base(bert_folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"bert__embeddings__LayerNorm__bias": None}, r"embeddings\.LayerNorm\.bias is missing"),
        ({"bert__adapter__weight": torch.ones(2)}, r"adapter\.weight is not part of the model"),
        (
            {"bert__encoder__layer__1__output__dense__bias": torch.ones(3)},
            r"encoder\.layer\.1\.output\.dense\.bias has shape \[3\] instead of \[16\]",
        ),
        ({"cls__predictions__bias": torch.ones(3)}, r"predictions\.bias has shape \[3\]"),
        (
            {"bert__embeddings__LayerNorm__bias": torch.ones(16, dtype=torch.int32)},
            r"embeddings\.LayerNorm\.bias has type torch\.int32",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    bert_folder: Path, changes: dict[str, torch.Tensor | None], complaint: str
) -> None:
    edit_weights(bert_folder, **changes)
    with pytest.raises(Corrupt, match=complaint):
        new_model(bert_folder)


def test_a_base_without_the_pooler_that_pooling_needs_is_refused(bert_folder: Path) -> None:
    edit_weights(bert_folder, bert__pooler__dense__weight=None, bert__pooler__dense__bias=None)
    assert new_model(bert_folder).config.pooling == "cls"
    with pytest.raises(Corrupt, match=r"pooler\.dense\.weight is missing"):
        new_model(bert_folder, pooling="pooler")


def test_a_half_precision_base_becomes_float32(bert_folder: Path) -> None:
    path = bert_folder / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items() if k != POSITIONS}, path)
    model = new_model(bert_folder)
    assert {p.dtype for p in model.retriever.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("values", "prompts"),
    [
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, ("query: ", "passage: ")),
        ({"prompts": {"query": "", "document": ""}, "default_prompt_name": None}, ("", "")),
        (
            {"prompts": {"query": "find: ", "all": "text: "}, "default_prompt_name": "all"},
            ("find: ", "text: "),
        ),
        ({"prompts": {"corpus": "c: ", "document": "d: "}}, ("", "d: ")),
        ({"__version__": {}}, ("", "")),
    ],
)
def test_prompts_are_those_that_sentence_transformers_would_choose(
    bert_folder: Path, values: dict[str, object], prompts: tuple[str, str]
) -> None:
    (bert_folder / "config_sentence_transformers.json").write_text(json.dumps(values))
    assert load_base(bert_folder).config.prompts == Prompts(*prompts)


def test_pooling_without_the_prompt_is_refused(bert_folder: Path) -> None:
    as_sentence_transformer(bert_folder, {"pooling_mode": "mean", "include_prompt": False})
    with pytest.raises(Unsupported, match="without the prompt"):
        load_base(bert_folder)


def test_prompts_reach_a_snapshots_encoder_and_a_setting_goes_before_the_bases(
    bert_folder: Path, tmp_path: Path
) -> None:
    said = {"prompts": {"query": "who ", "passage": "it "}}
    (bert_folder / "config_sentence_transformers.json").write_text(json.dumps(said))
    settings = load_settings(query_prompt="did ")
    write_model(tmp_path / "model", load_source(bert_folder, settings))
    for load in (load_query_encoder, load_passage_encoder):
        inputs = load(tmp_path / "model").inputs
        assert inputs.prompts == Prompts("did ", "it ")
        assert inputs.query("wrote").ids == inputs.query_from_ids(inputs.tokenize("wrote")[0]).ids
        assert inputs.query("wrote").ids[1] == inputs.tokenizer.token_to_id("did")
        assert inputs.passage([], []).ids[1] == inputs.tokenizer.token_to_id("it")


def test_vectors_of_letters_that_the_default_base_does_not_know_say_next_to_nothing(
    tmp_path: Path,
) -> None:
    model = new_model()
    write_model(tmp_path / "written", model)
    served = load_query_encoder(tmp_path / "written")
    questions = ["Who built the tower?", "من بنى البرج؟", "谁写了Redis"]
    inputs = [served.inputs.query(each) for each in questions]
    lengths = np.linalg.norm(served.encoder.encode(inputs), axis=1)
    assert lengths == pytest.approx([1.0, LEAST_WEIGHT, 5 / 8], rel=1e-3)
    ids, _ = served.inputs.tokenize(questions[1])
    passage = served.inputs.passage([], ids)
    (vector,) = served.encoder.encode([passage])
    assert np.linalg.norm(vector) == pytest.approx(1.0, rel=1e-3)

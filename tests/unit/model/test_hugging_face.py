"""Import and export without transformers' own files: round trips, mixtures, and bad folders.

Equality with what transformers computes is `tests/integration/test_hf_realm_parity.py`.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from realm.errors import Corrupt, InvalidInput, RealmError, Unsupported
from realm.model.checkpoint import Model, new_model, write_model
from realm.model.config import Projection
from realm.model.encoders import collate
from realm.model.hugging_face import export_model, import_model
from realm.model.hugging_face_checkpoint import read_checkpoint
from realm.model.hugging_face_format import Kind
from realm.model.inputs import Encoded
from realm.model.weights import Weights, read_weights
from tests.tiny import span_head
from tests.unit.model.conftest import TINY

BATCH = collate([Encoded([2, 5, 6, 3], [0] * 4), Encoded([2, 7, 3], [0, 0, 1])], 0)


def realm_model(base: Path, **changes: object) -> Model:
    """A tiny model of REALM's own form."""
    form: dict[str, Any] = {
        "pooling": "pooler",
        "projection": Projection(6),
        "lengths": TINY.lengths,
        "span_hidden_size": TINY.span_hidden_size,
        "max_span_width": TINY.max_span_width,
    }
    return new_model(base, **(form | changes))


def stir(model: Model) -> Model:
    """Towers that differ, heads that are not fresh."""
    with torch.no_grad():
        for number, weights in enumerate(model.retriever.query.parameters()):
            weights.add_(0.01 * (number + 1))
        for weights in model.reader.parameters():
            weights.mul_(1.5)
    return model


def weights_of(model: Model) -> Weights:
    return {**model.retriever.state_dict(), **model.reader.state_dict()}


def assert_same_model(left: Model, right: Model) -> None:
    assert left.config == right.config
    mine, its = weights_of(left), weights_of(right)
    assert mine.keys() == its.keys()
    assert [name for name, tensor in mine.items() if not torch.equal(tensor, its[name])] == []


def change_weights(folder: Path, change: Callable[[Weights], None]) -> None:
    path = folder / "model.safetensors"
    weights = read_weights(path)
    change(weights)
    save_file(weights, path)


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def as_transformers_wrote_it(folder: Path) -> None:
    """Without our own key, and its weights as .bin."""
    change_config(folder, lambda values: values.pop("realm"))
    torch.save(read_weights(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.fixture
def exported(bert_folder: Path, tmp_path: Path) -> dict[Kind, Path]:
    """Scorer, encoder and reader of one model with shared towers."""
    model = stir(realm_model(bert_folder))
    folders: dict[Kind, Path] = {}
    for kind in ("embedder", "scorer", "encoder", "reader"):
        folders[kind] = tmp_path / kind
        export_model(folders[kind], model, kind)
    return folders


@pytest.fixture
def openqa(exported: dict[Kind, Path], tmp_path: Path) -> Path:
    """As transformers stores a RealmForOpenQA: a .bin with the index and more that has no use."""
    weights = {
        "block_emb": torch.zeros(20, 6),
        "embedder.realm.embeddings.position_ids": torch.arange(64).unsqueeze(0),
    }
    for prefix, kind in (("embedder.", "embedder"), ("reader.", "reader")):
        stored = read_weights(exported[kind] / "model.safetensors")  # type: ignore[index]
        weights |= {prefix + name: tensor for name, tensor in stored.items()}
    folder = tmp_path / "openqa"
    folder.mkdir()
    torch.save(weights, folder / "pytorch_model.bin")
    for file in ("config.json", "tokenizer.json"):
        (folder / file).write_bytes((exported["embedder"] / file).read_bytes())
    change_config(folder, lambda values: values.update(architectures=["RealmForOpenQA"]))
    (folder / "block_records.npy").write_bytes(b"a pickle that nobody opens")
    return folder


@pytest.mark.parametrize("shared", [True, False])
def test_a_model_goes_out_and_in_bit_for_bit(
    bert_folder: Path, tmp_path: Path, shared: bool
) -> None:
    model = stir(realm_model(bert_folder, shared_towers=shared, marginal="sequence"))
    export_model(tmp_path / "scorer", model, "scorer")
    export_model(tmp_path / "reader", model, "reader")
    again = import_model(tmp_path / "scorer", reader=tmp_path / "reader")
    assert_same_model(again, model)
    assert again.inputs.fingerprint == model.inputs.fingerprint
    assert (again.retriever.query is again.retriever.passage) == shared


def test_separate_towers_that_are_still_equal_stay_separate(
    bert_folder: Path, tmp_path: Path
) -> None:
    export_model(tmp_path, realm_model(bert_folder, shared_towers=False), "scorer")
    assert not import_model(tmp_path).config.shared_towers


def test_a_scorer_of_transformers_with_the_same_weights_twice_has_shared_towers(
    exported: dict[Kind, Path],
) -> None:
    as_transformers_wrote_it(exported["scorer"])
    model = import_model(exported["scorer"])
    assert model.config.shared_towers
    assert model.retriever.query is model.retriever.passage


@torch.no_grad()
@pytest.mark.parametrize("shared", [True, False])
def test_a_learned_scale_goes_into_the_exported_vectors(
    bert_folder: Path, tmp_path: Path, shared: bool
) -> None:
    model = stir(realm_model(bert_folder, shared_towers=shared))
    model.retriever.log_scale.fill_(1.3)
    export_model(tmp_path, model, "scorer")
    again = import_model(tmp_path)
    assert again.retriever.scale == 1

    def scores(of: Model) -> torch.Tensor:
        towers = of.retriever.eval()
        return towers.score(towers.query(*BATCH), towers.passage(*BATCH))

    torch.testing.assert_close(scores(again), scores(model), rtol=1e-5, atol=1e-5)


def test_a_config_of_transformers_alone_is_understood(exported: dict[Kind, Path]) -> None:
    as_transformers_wrote_it(exported["embedder"])
    change_config(exported["embedder"], lambda values: values.update(pad_token_id=1))
    config = import_model(exported["embedder"]).config
    assert (config.pooling, config.projection, config.normalize) == ("pooler", Projection(6), False)
    assert (config.marginal, config.scale_init, config.shared_towers) == ("token", 1.0, True)
    assert config.base == dataclasses.replace(TINY.base, pad_token_id=0), "[PAD] is id 0"
    assert config.lengths.reader == TINY.lengths.reader
    assert config.base_name == "embedder"
    assert len(config.base_sha256) == 64


def test_an_openqa_gives_retriever_and_reader(exported: dict[Kind, Path], openqa: Path) -> None:
    parts = import_model(exported["embedder"], reader=exported["reader"])
    assert_same_model(import_model(openqa), parts)


def test_an_openqa_may_give_the_query_tower_to_another_embedder(
    bert_folder: Path, openqa: Path, tmp_path: Path
) -> None:
    passages = realm_model(bert_folder, seed=5)
    export_model(tmp_path / "passages", passages, "embedder")
    model = import_model(tmp_path / "passages", query=openqa, reader=openqa)
    assert not model.config.shared_towers
    trained = import_model(openqa)
    for mine, its in (
        (model.retriever.passage, passages.retriever.passage),
        (model.retriever.query, trained.retriever.query),
        (model.reader, trained.reader),
    ):
        given = its.state_dict()
        assert all(torch.equal(tensor, given[name]) for name, tensor in mine.state_dict().items())


def test_shards_are_read_as_one(exported: dict[Kind, Path]) -> None:
    whole = import_model(exported["scorer"])
    folder = exported["scorer"]
    weights = read_weights(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for shard in range(2):
        file = f"model-{shard}.safetensors"
        chosen = sorted(weights)[shard::2]
        save_file({name: weights[name] for name in chosen}, folder / file)
        places |= dict.fromkeys(chosen, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert_same_model(import_model(folder), whole)


@pytest.mark.parametrize("kind", ["embedder", "scorer", "encoder", "reader"])
def test_without_an_architecture_the_weights_tell_the_kind(
    exported: dict[Kind, Path], kind: Kind
) -> None:
    change_config(exported[kind], lambda values: values.pop("architectures"))
    assert read_checkpoint(exported[kind]).kind == kind


def test_a_reader_without_its_unused_word_head_is_whole(exported: dict[Kind, Path]) -> None:
    def without_words(weights: Weights) -> None:
        for name in [name for name in weights if name.startswith("cls.")]:
            del weights[name]

    change_weights(exported["reader"], without_words)
    model = import_model(exported["embedder"], reader=exported["reader"])
    expected = read_weights(exported["reader"] / "model.safetensors")
    assert torch.equal(
        span_head(model).dense_output.weight, expected["qa_outputs.dense_output.weight"]
    )


NAME = "realm.encoder.layer.1.output.dense.bias"


@pytest.mark.parametrize("kind", ["embedder", "scorer", "encoder", "reader"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda weights, name: weights.pop(name), "{} is missing"),
        (
            lambda weights, name: weights.update({name: torch.zeros(3)}),
            r"{} has shape \[3\] instead of \[16\]",
        ),
        (
            lambda weights, name: weights.update({name + "_2": torch.zeros(3)}),
            "{}_2 is not part of the model",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    exported: dict[Kind, Path],
    kind: Kind,
    fault: Callable[[Weights, str], None],
    message: str,
) -> None:
    name = f"query_embedder.{NAME}" if kind == "scorer" else NAME
    change_weights(exported[kind], lambda weights: fault(weights, name))
    with pytest.raises(Corrupt, match=message.format(name)):
        read_checkpoint(exported[kind])


def test_a_weight_of_no_part_is_named(exported: dict[Kind, Path]) -> None:
    change_weights(exported["scorer"], lambda weights: weights.update(head=torch.zeros(1)))
    with pytest.raises(Corrupt, match="head is not part of a REALM scorer"):
        read_checkpoint(exported["scorer"])


def test_the_wrong_kind_of_folder_is_named(
    bert_folder: Path, tiny_model: Model, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match=r"bert model.*REALM_BASE_MODEL"):
        import_model(bert_folder)
    write_model(tmp_path / "snapshot", tiny_model)
    with pytest.raises(Unsupported, match="not a REALM checkpoint"):
        import_model(tmp_path / "snapshot")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unsupported, match=r"has no config\.json"):
        import_model(tmp_path / "empty")


def test_a_checkpoint_in_the_wrong_place_is_named(exported: dict[Kind, Path]) -> None:
    for wrong in (
        {"source": exported["reader"]},
        {"source": exported["encoder"]},
        {"source": exported["embedder"], "reader": exported["scorer"]},
        {"source": exported["embedder"], "reader": exported["encoder"]},
        {"source": exported["embedder"], "mlm": exported["reader"]},
        {"source": exported["embedder"], "query": exported["reader"]},
    ):
        with pytest.raises(InvalidInput, match=r"is a REALM (scorer|encoder|reader): give"):
            import_model(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "reader", "reader_layer_norm_eps": 1e-12}, Unsupported, "eps 1e-12"),
        ({"architectures": ["RealmDreamer"]}, Unsupported, "RealmDreamer"),
        ({"layer_norm_eps": 1e-6}, Unsupported, "eps 1e-06"),
        ({"position_embedding_type": "relative_key"}, Unsupported, "relative positions"),
        ({"hidden_size": "16"}, Corrupt, "hidden_size is '16', not of type int"),
        ({"num_attention_heads": 5}, Unsupported, "5 attention heads"),
        ({"max_position_embeddings": 9}, Unsupported, "9"),
        ({"realm": {"pooling": "pooler"}}, Corrupt, "base: Field required"),
    ],
)
def test_a_config_that_realm_cannot_compute_is_named(
    exported: dict[Kind, Path],
    change: dict[str, object],
    error: type[RealmError],
    message: str,
) -> None:
    folder = exported[change.pop("kind", "embedder")]  # type: ignore[index]
    change_config(folder, lambda values: values.update(change))
    with pytest.raises(error, match=message):
        read_checkpoint(folder)


def test_checkpoints_of_two_shapes_do_not_make_one_model(
    exported: dict[Kind, Path], bert_folder: Path, tmp_path: Path
) -> None:
    change_config(bert_folder, lambda values: values.update(hidden_act="relu"))
    export_model(tmp_path / "other", realm_model(bert_folder), "reader")
    with pytest.raises(Unsupported, match="hidden_act gelu and relu"):
        import_model(exported["embedder"], reader=tmp_path / "other")


def test_a_tokenizer_must_be_there_and_match(exported: dict[Kind, Path]) -> None:
    path = exported["embedder"] / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    path.unlink()
    with pytest.raises(Corrupt, match="no tokenizer"):
        import_model(exported["embedder"])
    assert import_model(exported["embedder"], tokenizer=tokenizer).inputs.tokenizer is tokenizer
    tokenizer.add_tokens(["one", "more"])
    with pytest.raises(Corrupt, match="it has 14 words, the model knows 12"):
        import_model(exported["embedder"], tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"pooling": "mean"}, "scorer", "pools by mean"),
        ({"projection": None}, "embedder", "no projection"),
        ({"projection": Projection(6, layer_norm=False)}, "scorer", "no projection with LayerNorm"),
        ({"normalize": True}, "scorer", "normalised"),
        ({"shared_towers": False}, "embedder", "towers are separate"),
        ({}, "openqa", "not 'openqa'"),
    ],
)
def test_what_transformers_cannot_compute_is_not_exported(
    bert_folder: Path, tmp_path: Path, changes: dict[str, object], kind: Kind, message: str
) -> None:
    with pytest.raises(Unsupported, match=message):
        export_model(tmp_path / "out", realm_model(bert_folder, **changes), kind)
    assert not (tmp_path / "out").exists()


def test_the_reader_of_any_model_can_be_exported(tiny_model: Model, tmp_path: Path) -> None:
    export_model(tmp_path, tiny_model, "reader")
    given = read_checkpoint(tmp_path).parts["reader"]
    state = tiny_model.reader.state_dict()
    assert all(torch.equal(given[name], tensor) for name, tensor in state.items())

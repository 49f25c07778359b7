import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import BadSettings, Corrupt
from realm.model.config import AnswerRules, BertShape, ModelConfig, Projection
from realm.model.inputs import InputLimits

shapes = st.builds(
    BertShape,
    hidden_size=st.sampled_from([48, 384]),
    num_attention_heads=st.sampled_from([4, 12]),
    hidden_dropout_prob=st.floats(0, 0.9),
    layer_norm_eps=st.floats(1e-15, 1e-2),
    hidden_act=st.sampled_from(["gelu", "gelu_new"]),
)
configs = st.builds(
    ModelConfig,
    base=shapes,
    pooling=st.sampled_from(["mean", "cls", "pooler"]),
    normalize=st.booleans(),
    projection=st.none()
    | st.builds(Projection, size=st.integers(1, 512), layer_norm=st.booleans()),
    shared_towers=st.booleans(),
    lengths=st.builds(InputLimits, passage=st.integers(1, 512), query=st.integers(1, 512)),
    scale_init=st.floats(1e-3, 1e3),
    candidates=st.integers(2, 100),
    marginal=st.sampled_from(["sequence", "token"]),
    base_name=st.text(),
    reader_base=st.none() | shapes,
    span_scores=st.sampled_from(["mlp", "start_end"]),
    answers=st.builds(AnswerRules, st.booleans(), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3)),
)


@given(configs)
def test_json_round_trip_is_exact(config: ModelConfig) -> None:
    text = config.to_json()
    assert ModelConfig.from_json(text) == config
    assert ModelConfig.from_json(text).to_json() == text


def edited(**changes: object) -> str:
    return json.dumps(json.loads(ModelConfig(BertShape()).to_json()) | changes)


def test_configs_from_before_a_field_have_its_default() -> None:
    values = json.loads(ModelConfig(BertShape()).to_json())
    for name in ("reader_base", "span_scores", "answers"):
        del values[name]
    assert ModelConfig.from_json(json.dumps(values)) == ModelConfig(BertShape())


def test_missing_keys_are_refused_by_name() -> None:
    values = json.loads(ModelConfig(BertShape()).to_json())
    del values["marginal"]
    with pytest.raises(Corrupt, match="lacks keys: marginal"):
        ModelConfig.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"base": {**asdict(BertShape()), "rotary": True}},
        {"pooling": "max"},
        {"candidates": "8"},
        {"candidates": True},
        {"normalize": 1},
        {"base": None},
        {"scale_init": 0.0},
        {"projection": []},
    ],
)
def test_unknown_keys_and_values_of_the_wrong_kind_are_named(changes: dict[str, object]) -> None:
    with pytest.raises(Corrupt, match=next(iter(changes)).removesuffix("_init")):
        ModelConfig.from_json(edited(**changes))


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(Corrupt, match="JSON"):
        ModelConfig.from_json("{")


def test_embedding_size_is_the_projections_or_the_backbones() -> None:
    assert ModelConfig(BertShape()).embedding_size == 768
    assert ModelConfig(BertShape(), projection=Projection(128)).embedding_size == 128


def test_lengths_beyond_the_positions_are_refused() -> None:
    with pytest.raises(BadSettings, match="passage=600"):
        ModelConfig(BertShape(), lengths=InputLimits(passage=600))


@pytest.mark.parametrize("projection", [Projection(128, False, True), Projection(768, True, True)])
def test_a_projection_that_cannot_be_the_identity_is_refused(projection: Projection) -> None:
    with pytest.raises(BadSettings, match="identity"):
        ModelConfig(BertShape(), projection=projection)

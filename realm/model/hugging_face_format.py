"""How transformers (up to 4.46) writes REALM: kinds of checkpoint, config keys, weight names.

Pure: `hugging_face` reads and writes the folders.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch

from realm.errors import BadSettings, Corrupt, Unsupported
from realm.model.base import default_lengths
from realm.model.config import BertShape, ModelConfig, Projection
from realm.model.encoders import PROJECTION_NORM_EPS
from realm.model.reader import SPAN_NORM_EPS
from realm.model.weights import Weights

Kind = Literal["embedder", "scorer", "encoder", "reader", "openqa"]
Part = Literal["passage", "query", "reader"]

ARCHITECTURES: dict[str, Kind] = {
    "RealmEmbedder": "embedder",
    "RealmScorer": "scorer",
    "RealmKnowledgeAugEncoder": "encoder",
    "RealmReader": "reader",
    "RealmForOpenQA": "openqa",
}
# Where each kind keeps our parts.
PREFIXES: dict[Kind, dict[Part, str]] = {
    "embedder": {"passage": ""},
    "scorer": {"passage": "embedder.", "query": "query_embedder."},
    "encoder": {"reader": ""},
    "reader": {"reader": ""},
    "openqa": {"passage": "embedder.", "reader": "reader."},
}
TOWER_NAMES = {"backbone.": "realm.", "projection.": "cls."}
READER_NAMES = {
    "backbone.": "realm.",
    "predictions.": "cls.predictions.",
    "qa_outputs.": "qa_outputs.",
}
# Stored by transformers, without effect on what the model computes.
UNUSED = re.compile(r"(.*\.)?position_ids|block_emb")
UNUSED_IN_TOWER = re.compile(r"cls\.predictions\..*")
UNUSED_IN_READER = re.compile(r"realm\.pooler\..*|cls\.predictions\.decoder\..*")

REALM_KEY = "realm"  # in config.json: what a ModelConfig says and a RealmConfig does not
# RealmConfig's defaults, where they are not a BERT's.
REALM_DEFAULTS = {"hidden_act": "gelu_new"}
NUM_CANDIDATES, PROJECTION_SIZE, READER_TOKENS = 8, 128, 320
SPAN_HIDDEN_SIZE, MAX_SPAN_WIDTH = 256, 10
TRAINING_ONLY = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")
UNUSED_CONFIG = {
    "bos_token_id": 0,
    "eos_token_id": 2,
    "num_block_records": 13353718,
    "reader_beam_size": 5,
    "reader_layer_norm_eps": SPAN_NORM_EPS,
    "searcher_beam_size": 5000,
    "torch_dtype": "float32",
    "transformers_version": "4.46.3",
}


def check_is_realm(values: Mapping[str, Any], origin: object) -> None:
    """:raises Unsupported: if the config is another kind of model's, or none of transformers'."""
    found = values.get("model_type", "nameless")
    if found != "realm":
        raise Unsupported(
            f"{origin} holds a {found} model, not a REALM checkpoint of transformers; a BERT-type"
            " base needs no import: name it in REALM_BASE_MODEL"
        )


def kind_of(values: Mapping[str, Any], names: Iterable[str], origin: object) -> Kind:
    """By the config's `architectures`, else by the weights' names.

    :raises Unsupported: if neither is one of REALM's.
    """
    stated = values.get("architectures")
    if stated:
        found = [ARCHITECTURES[name] for name in stated if name in ARCHITECTURES]
        if len(found) != 1:
            raise Unsupported(f"{origin} holds {stated}: realm knows {', '.join(ARCHITECTURES)}")
        return found[0]
    signs: dict[str, Kind] = {
        "reader.": "openqa",
        "embedder.": "scorer",
        "qa_outputs.": "reader",
        "cls.dense.": "embedder",
        "cls.predictions.": "encoder",
    }
    known = list(names)
    for sign, kind in signs.items():
        if any(name.startswith(sign) for name in known):
            return kind
    raise Unsupported(f"{origin} says no architecture, and its weights fit none of REALM's")


def config_from(values: Mapping[str, Any], kind: Kind, origin: object) -> ModelConfig:
    """The model that `values`, a RealmConfig's JSON, describes.

    What `export` added beside transformers' keys is taken for what these do not say.

    :raises Corrupt: if a value is of the wrong type.
    :raises Unsupported: if realm cannot compute such a model.
    """
    _check_norms(values, kind, origin)
    try:
        config = _config_from_keys(values)
        if REALM_KEY in values:
            stored = ModelConfig.from_json(json.dumps(values[REALM_KEY]))
            config = _with_current_keys(stored, config)
    except (BadSettings, ZeroDivisionError) as error:
        raise Unsupported(f"{origin} describes a model that cannot serve: {error}") from error
    return config


def config_to(config: ModelConfig, kind: Kind) -> dict[str, Any]:
    """A RealmConfig's JSON, with our own config beside transformers' keys."""
    architecture = next(name for name, of in ARCHITECTURES.items() if of == kind)
    projection = config.projection
    return {
        **UNUSED_CONFIG,
        **dataclasses.asdict(config.base),
        "architectures": [architecture],
        "model_type": "realm",
        "max_span_width": config.max_span_width,
        "num_candidates": config.candidates,
        "reader_seq_len": config.lengths.reader,
        "retriever_proj_size": PROJECTION_SIZE if projection is None else projection.size,
        "span_hidden_size": config.span_hidden_size,
        REALM_KEY: dataclasses.asdict(config),
    }


def check_exportable(config: ModelConfig, kind: Kind) -> None:
    """:raises Unsupported: naming what transformers' REALM cannot compute."""
    if kind not in get_args(Kind) or kind == "openqa":
        raise Unsupported(f"realm exports an embedder, scorer, encoder or reader, not {kind!r}")
    if config.base.architecture:
        raise Unsupported(f"transformers' REALM has no {kind} like this model: it is no plain BERT")
    if kind in ("encoder", "reader"):
        if config.span_scores != "mlp" or config.reader_base is not None:
            raise Unsupported(
                f"transformers' REALM has no {kind} like this model: its reader is another's"
            )
        return
    faults = []
    if config.pooling != "pooler":
        faults.append(f"it pools by {config.pooling}")
    if config.projection is None or not config.projection.layer_norm:
        faults.append("it has no projection with LayerNorm")
    if config.normalize:
        faults.append("its vectors are normalised")
    if config.base.layer_norm_eps != PROJECTION_NORM_EPS:
        faults.append(f"its LayerNorm eps is {config.base.layer_norm_eps}")
    if kind == "embedder" and not config.shared_towers:
        faults.append("its towers are separate (a scorer holds both)")
    if faults:
        raise Unsupported(f"transformers' REALM has no {kind} like this model: {'; '.join(faults)}")


def to_transformers_names(part: Part, weights: Weights) -> Weights:
    """Renames our weights of a part to transformers' names, without the part's prefix."""
    return _rename_prefixes(weights, READER_NAMES if part == "reader" else TOWER_NAMES)


def to_realm_names(part: Part, weights: Weights) -> Weights:
    """The inverse of `to_transformers_names`."""
    names = READER_NAMES if part == "reader" else TOWER_NAMES
    return _rename_prefixes(weights, {new: old for old, new in names.items()})


def split_parts(kind: Kind, weights: Weights) -> dict[Part, Weights]:
    """The parts' weights by transformers' names, prefixes removed; unused ones left out.

    :raises Corrupt: naming weights that belong to no part.
    """
    prefixes = PREFIXES[kind]
    parts: dict[Part, Weights] = {part: {} for part in prefixes}
    strange = []
    for name, tensor in weights.items():
        if UNUSED.fullmatch(name):
            continue
        part = next((p for p, prefix in prefixes.items() if name.startswith(prefix)), None)
        if part is None:
            strange.append(name)
            continue
        bare = name.removeprefix(prefixes[part])
        unused = UNUSED_IN_READER if part == "reader" else UNUSED_IN_TOWER
        if not unused.fullmatch(bare):
            parts[part][bare] = tensor
    if strange:
        raise Corrupt(f"{', '.join(sorted(strange)[:5])} is not part of a REALM {kind}")
    return parts


def filler_weights(part: Part, weights: Weights) -> Weights:
    """What transformers stores in a part beside `weights` (its names): without effect there.

    The decoder is tied to the word embeddings; the rest is zeros, so that loading warns of nothing.
    """
    words = weights["realm.embeddings.word_embeddings.weight"]
    vocabulary, hidden = words.shape
    if part == "reader":
        return {
            "realm.pooler.dense.weight": torch.zeros(hidden, hidden),
            "realm.pooler.dense.bias": torch.zeros(hidden),
            "cls.predictions.decoder.weight": words,
            "cls.predictions.decoder.bias": weights["cls.predictions.bias"],
        }
    return {
        "cls.predictions.bias": torch.zeros(vocabulary),
        "cls.predictions.decoder.weight": torch.zeros(vocabulary, hidden),
        "cls.predictions.transform.dense.weight": torch.zeros(hidden, hidden),
        "cls.predictions.transform.dense.bias": torch.zeros(hidden),
        "cls.predictions.transform.LayerNorm.weight": torch.zeros(hidden),
        "cls.predictions.transform.LayerNorm.bias": torch.zeros(hidden),
    }


def _rename_prefixes(weights: Weights, prefixes: Mapping[str, str]) -> Weights:
    # A longer prefix first: `cls.` would take what is `cls.predictions.`'s.
    ordered = sorted(prefixes, key=len, reverse=True)

    def rename(name: str) -> str:
        old = next((prefix for prefix in ordered if name.startswith(prefix)), None)
        return name if old is None else prefixes[old] + name.removeprefix(old)

    return {rename(name): tensor for name, tensor in weights.items()}


def _config_from_keys(values: Mapping[str, Any]) -> ModelConfig:
    defaults = {f.name: f.default for f in dataclasses.fields(BertShape)} | REALM_DEFAULTS
    # [PAD] is id 0, whatever the config says: RealmConfig's default is 1.
    shape = {k: _typed_value(values, k, v) for k, v in defaults.items() if k != "pad_token_id"}
    base = BertShape(**shape, pad_token_id=0)
    reader_tokens = _typed_value(values, "reader_seq_len", READER_TOKENS)
    return ModelConfig(
        base=base,
        pooling="pooler",
        projection=Projection(size=_typed_value(values, "retriever_proj_size", PROJECTION_SIZE)),
        lengths=default_lengths(base.max_position_embeddings, reader_tokens),
        candidates=_typed_value(values, "num_candidates", NUM_CANDIDATES),
        marginal="token",  # what transformers computes
        span_hidden_size=_typed_value(values, "span_hidden_size", SPAN_HIDDEN_SIZE),
        max_span_width=_typed_value(values, "max_span_width", MAX_SPAN_WIDTH),
    )


def _typed_value(values: Mapping[str, Any], key: str, default: Any) -> Any:
    value = values.get(key, default)
    kind = type(default)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise Corrupt(f"the config's {key} is {value!r}, not of type {kind.__name__}")
    return value


def _with_current_keys(stored: ModelConfig, said: ModelConfig) -> ModelConfig:
    """`stored`, with what transformers' keys say now: it may have trained on, or been resized."""
    assert said.projection is not None  # _config_from_keys always gives one
    projection = stored.projection
    if projection is not None:
        projection = dataclasses.replace(projection, size=said.projection.size)
    lengths = stored.lengths
    if lengths.reader != said.lengths.reader:
        lengths = said.lengths
    return dataclasses.replace(
        stored,
        base=dataclasses.replace(said.base, pad_token_id=stored.base.pad_token_id),
        projection=projection,
        lengths=lengths,
        candidates=said.candidates,
        span_hidden_size=said.span_hidden_size,
        max_span_width=said.max_span_width,
    )


def _check_norms(values: Mapping[str, Any], kind: Kind, origin: object) -> None:
    """transformers takes the LayerNorms' eps from its config; ours are the released models'."""
    parts = PREFIXES[kind]
    tower_eps = values.get("layer_norm_eps", PROJECTION_NORM_EPS)
    if "passage" in parts and tower_eps != PROJECTION_NORM_EPS:
        raise Unsupported(f"{origin} projects with LayerNorm eps {tower_eps}: realm knows 1e-12")
    reader_eps = values.get("reader_layer_norm_eps", SPAN_NORM_EPS)
    if "reader" in parts and kind != "encoder" and reader_eps != SPAN_NORM_EPS:
        raise Unsupported(f"{origin} reads with LayerNorm eps {reader_eps}: realm knows 1e-3")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported(f"{origin} has relative positions: realm knows absolute ones")

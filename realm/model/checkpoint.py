"""Whole models: made from a base, written to a snapshot's folder, read back part by part.

A folder holds config.json, tokenizer.json, passage_encoder, query_encoder (if the towers differ)
and reader (.safetensors), and perhaps a cross-encoder's files. `realm.records.snapshots` writes its
manifest.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from realm.errors import BadSettings, Corrupt
from realm.model.adapters import adapter_weights, remove_adapters
from realm.model.base import (
    DEFAULT_ANSWER_WIDTH,
    Base,
    ExtractiveReader,
    check_same_vocabulary,
    load_base,
    load_extractive_reader,
)
from realm.model.config import AnswerRules, ModelConfig
from realm.model.cross_encoder import CrossEncoder, read_cross_encoder, write_cross_encoder
from realm.model.encoders import EmbeddingProjection, Encoder
from realm.model.frozen_encoder import FrozenEncoder
from realm.model.inputs import InputBuilder, InputLimits, Prompts
from realm.model.reader import MaskedLMHead, Reader, passage_head, span_head
from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance
from realm.model.retriever import Retriever
from realm.model.starter import load_starter
from realm.model.weights import (
    Weights,
    build,
    read_weights,
    without_weights,
    write_weights,
)

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
PASSAGE_ENCODER_FILE = "passage_encoder.safetensors"
QUERY_ENCODER_FILE = "query_encoder.safetensors"
READER_FILE = "reader.safetensors"
LOG_SCALE = "log_scale"
WORD_WEIGHT = "word_weight"
CPU = torch.device("cpu")
#: What a base's vectors follow from: with others, the starter's s and w would be those of another.
OF_VECTORS = ("pooling", "normalize", "projection", "vector_size", "prompts", "scale_init")


@dataclass(frozen=True, slots=True)
class Model:
    """Retriever, reader and the one builder of their inputs; perhaps a cross-encoder, which
    re-ranks passages and does not learn."""

    config: ModelConfig
    inputs: InputBuilder
    retriever: Retriever
    reader: Reader
    cross_encoder: CrossEncoder | None = None


@dataclass(frozen=True, slots=True)
class ServingEncoder:
    """One tower of a snapshot with what its caller needs: input builder, and s and w of f(x, z)."""

    config: ModelConfig
    inputs: InputBuilder
    encoder: FrozenEncoder
    relevance: Relevance


def new_model(
    base: str | Path | Base | None = None,
    *,
    seed: int = 0,
    starter: bool = True,
    reader: str | Path | None = None,
    **overrides: Any,
) -> Model:
    """A model at step 0: the base's weights, and fresh ones (by `seed`) for what it lacks.

    `overrides` are fields of `ModelConfig`. With `starter` the reader is the shipped one, if it
    was trained on this very base and its span head has the size asked for, and s and w are those
    that were fitted to this base, if its vectors are as it makes them. `reader` names an
    extractive QA checkpoint of transformers that reads instead (`with_reader`).

    :raises BadSettings: if an override is unknown or does not fit the base.
    :raises Corrupt: if the shipped reader is damaged.
    """
    source = base if isinstance(base, Base) else load_base(base)
    known = {f.name for f in dataclasses.fields(ModelConfig)}
    if unknown := sorted(set(overrides) - known):
        raise BadSettings(f"a model's config has no {', '.join(unknown)}")
    config = dataclasses.replace(source.config, **({"coverage": True} | overrides))
    shipped = load_starter(config.base_sha256) if starter and not reader else None
    if shipped is not None and shipped.span_hidden_size == config.span_hidden_size:
        learnt = shipped.weights()
        width = overrides.get("max_span_width", shipped.max_span_width)
        config = dataclasses.replace(
            config,
            max_span_width=width,
            answers=shipped.answers,
            passage_scores=config.passage_scores or shipped.passage_scores,
        )
    else:
        learnt = {}
    heads = _fresh_heads(config, seed)
    backbone = _prefixed("backbone", source.backbone)
    predictions = _prefixed("predictions", source.predictions)
    tower = {**_for_pooling(config, backbone), **heads["tower"]}
    if config.projection == source.config.projection:
        tower |= _prefixed("projection", source.dense)
    reading = {**_without_pooler(backbone), **heads["reader"], **predictions, **learnt}
    inputs = InputBuilder(source.tokenizer, config.lengths, config.prompts, config.scripts)
    retriever = build_retriever(config, tower, tower)
    as_fitted = all(getattr(config, each) == getattr(source.config, each) for each in OF_VECTORS)
    fitted = shipped.relevance if shipped is not None and as_fitted else None
    if fitted is not None and fitted.coverage == config.coverage:
        retriever.set_relevance(fitted)
    model = Model(config, inputs, retriever, build_reader(config, reading))
    if not reader:
        return model
    width = overrides.get("max_span_width", DEFAULT_ANSWER_WIDTH)
    return with_reader(model, load_extractive_reader(reader), max_span_width=width, seed=seed)


def with_reader(
    model: Model,
    found: ExtractiveReader,
    *,
    max_span_width: int = DEFAULT_ANSWER_WIDTH,
    no_answer: bool = False,
    seed: int = 0,
) -> Model:
    """The model with another's reader, whose shape may be its own; the masked-LM head is fresh.

    :param no_answer: whether it was trained on questions without an answer, as SQuAD 2.0 has them.
    :raises Corrupt: if its word pieces are others, or a weight does not fit.
    """
    check_same_vocabulary(found, model.inputs.tokenizer)
    reader = min(model.config.lengths.reader, found.shape.max_position_embeddings)
    config = dataclasses.replace(
        model.config,
        reader_base=None if found.shape == model.config.base else found.shape,
        span_scores="start_end",
        passage_scores=False,
        max_span_width=max_span_width,
        answers=AnswerRules(null=no_answer),
        lengths=dataclasses.replace(model.config.lengths, reader=reader),
    )
    fresh = _fresh_heads(config, seed)["reader"]
    words = {name: tensor for name, tensor in fresh.items() if name.startswith("predictions.")}
    return dataclasses.replace(
        model,
        config=config,
        inputs=InputBuilder(model.inputs.tokenizer, config.lengths, config.prompts, config.scripts),
        reader=build_reader(config, {**words, **found.weights}),
    )


def with_own_query_encoder(model: Model) -> Model:
    """The model with two towers: the query's begins as a copy of the passages'.

    The query encoder can then learn over an index that stays as it is. A model that has two is
    returned as it is.
    """
    if not model.config.shared_towers:
        return model
    config = dataclasses.replace(model.config, shared_towers=False)
    tower = model.retriever.passage.state_dict()
    found = model.retriever
    retriever = build_retriever(config, tower, tower, found.log_scale, found.word_weight)
    return dataclasses.replace(model, config=config, retriever=retriever)


def copy_model(model: Model) -> Model:
    """A copy that training no longer changes; frozen parameters are shared with it."""
    parts = (model.retriever, model.reader)
    frozen = {id(p): p for part in parts for p in part.parameters() if not p.requires_grad}
    memo: dict[int, object] = dict(frozen)
    return dataclasses.replace(
        model,
        retriever=copy.deepcopy(model.retriever, memo),
        reader=copy.deepcopy(model.reader, memo),
    )


def without_adapters(model: Model, *, merge: bool = True) -> Model:
    """The model itself if it has no adapters, else a copy whose linear maps are plain.

    :param merge: with what the adapters have learnt; else without it.
    """
    parts = (model.retriever, model.reader)
    if not any(map(adapter_weights, parts)):
        return model
    copied = copy_model(model)
    for part in (copied.retriever, copied.reader):
        remove_adapters(part, merge=merge)
    return copied


def build_retriever(
    config: ModelConfig,
    query: Mapping[str, Tensor],
    passage: Mapping[str, Tensor],
    log_scale: Tensor | None = None,
    word_weight: Tensor | None = None,
) -> Retriever:
    """A retriever around tower weights by `Encoder`'s names; `query` is not used if shared. Without
    `log_scale` or `word_weight`, s or w is that of a new model.

    :raises Corrupt: naming the weights that do not fit.
    """
    retriever = without_weights(lambda: Retriever(config))
    retriever.passage = _build_encoder(config, passage, "the passage encoder")
    retriever.query = (
        retriever.passage
        if config.shared_towers
        else _build_encoder(config, query, "the query encoder")
    )
    start = torch.tensor(config.scale_init).log() if log_scale is None else log_scale
    retriever.log_scale = nn.Parameter(start.detach().float().clone())
    weight = torch.tensor(FIRST_WORD_WEIGHT) if word_weight is None else word_weight
    retriever.word_weight = nn.Parameter(weight.detach().float().clone())
    return retriever


def build_reader(config: ModelConfig, weights: Mapping[str, Tensor]) -> Reader:
    """:raises Corrupt: naming the weights that do not fit."""
    return build(lambda: Reader(config), weights, "the reader")


def write_model(folder: Path, model: Model) -> None:
    """Writes the files of a snapshot's folder, all but the manifest; adapters are merged."""
    model = without_adapters(model)
    folder.mkdir(parents=True, exist_ok=True)
    retriever = model.retriever
    (folder / CONFIG_FILE).write_text(model.config.to_json(), encoding="utf-8")
    (folder / TOKENIZER_FILE).write_text(model.inputs.tokenizer.to_str(), encoding="utf-8")
    weights = {LOG_SCALE: retriever.log_scale, WORD_WEIGHT: retriever.word_weight}
    save_encoder(folder / PASSAGE_ENCODER_FILE, retriever.passage, weights)
    if not model.config.shared_towers:
        save_encoder(folder / QUERY_ENCODER_FILE, retriever.query, weights)
    save_reader(folder / READER_FILE, model.reader)
    if model.cross_encoder is not None:
        write_cross_encoder(folder, model.cross_encoder)


def save_encoder(path: Path, encoder: Encoder, relevance: Mapping[str, Tensor]) -> None:
    write_weights(path, {**encoder.state_dict(), **relevance})


def save_reader(path: Path, reader: Reader) -> None:
    write_weights(path, reader.state_dict())


def load_config(folder: Path) -> ModelConfig:
    """:raises Corrupt: if the file is missing or not a model's config."""
    path = folder / CONFIG_FILE
    try:
        return ModelConfig.from_json(path.read_bytes())
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error}", file=path) from error


def load_passage_encoder(
    folder: Path, *, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> ServingEncoder:
    """:raises Corrupt: if a file is missing, damaged, or does not fit the config."""
    return _load_encoder(folder, PASSAGE_ENCODER_FILE, None, device, dtype)


def load_query_encoder(
    folder: Path,
    inputs: InputBuilder | None = None,
    *,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> ServingEncoder:
    """Reads the passage encoder where the towers share their weights.

    :param inputs: those of another snapshot of the same fingerprint: the tokenizer, which keeps
        every thread waiting while it is read, need not be read again.
    :raises Corrupt: if a file is missing, damaged, or does not fit the config.
    """
    shared = load_config(folder).shared_towers
    file = PASSAGE_ENCODER_FILE if shared else QUERY_ENCODER_FILE
    return _load_encoder(folder, file, inputs, device, dtype)


def load_reader(
    folder: Path, *, device: torch.device = CPU, dtype: torch.dtype | None = None
) -> Reader:
    """In eval mode.

    :param dtype: of a reader that learns no more: the number format of its backbone.
    :raises Corrupt: if a file is missing, damaged, or does not fit the config.
    """
    path = folder / READER_FILE
    config = load_config(folder)
    reader = build(lambda: Reader(config), read_weights(path), str(path)).to(device).eval()
    if dtype is not None:
        reader.freeze(dtype)
    return reader


def load_model(folder: Path) -> Model:
    """The whole model, to train on. :raises Corrupt: as the parts do."""
    config = load_config(folder)
    passage, log_scale, word_weight = _read_encoder(folder / PASSAGE_ENCODER_FILE)
    query = passage if config.shared_towers else _read_encoder(folder / QUERY_ENCODER_FILE)[0]
    return Model(
        config,
        InputBuilder.from_folder(folder, config.lengths, config.prompts, config.scripts),
        build_retriever(config, query, passage, log_scale, word_weight),
        load_reader(folder).train(),
        read_cross_encoder(folder),
    )


def _load_encoder(
    folder: Path,
    file: str,
    inputs: InputBuilder | None,
    device: torch.device,
    dtype: torch.dtype,
) -> ServingEncoder:
    config = load_config(folder)
    weights, log_scale, word_weight = _read_encoder(folder / file)
    if inputs is None or _made_of(inputs) != (config.lengths, config.prompts, config.scripts):
        inputs = InputBuilder.from_folder(folder, config.lengths, config.prompts, config.scripts)
    encoder = _build_encoder(config, weights, str(folder / file)).to(device).eval()
    return ServingEncoder(
        config=config,
        inputs=inputs,
        encoder=FrozenEncoder(encoder, inputs.pad, dtype),
        relevance=Relevance(float(log_scale.exp()), float(word_weight), config.coverage),
    )


def _made_of(inputs: InputBuilder) -> tuple[InputLimits, Prompts, str]:
    return inputs.limits, inputs.prompts, inputs.scripts


def _build_encoder(config: ModelConfig, weights: Mapping[str, Tensor], origin: str) -> Encoder:
    return build(lambda: Encoder(config), weights, origin)


def _read_encoder(path: Path) -> tuple[Weights, Tensor, Tensor]:
    """A tower's weights, log s, and w: snapshots of earlier releases have none."""
    weights = read_weights(path)
    weights.setdefault(WORD_WEIGHT, torch.tensor(FIRST_WORD_WEIGHT))
    for name in (LOG_SCALE, WORD_WEIGHT):
        found = weights.get(name)
        if found is None or found.shape != () or not found.isfinite():
            raise Corrupt(f"{path} does not fit: {name} is missing or no finite number", file=path)
    return weights, weights.pop(LOG_SCALE), weights.pop(WORD_WEIGHT)


def _fresh_heads(config: ModelConfig, seed: int) -> dict[str, Weights]:
    """New weights for what no base has: the projection, the span head, perhaps the MLM head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spans = span_head(config)
        words = MaskedLMHead(config.reader_shape)
        tower: Weights = {}
        if config.projection is not None:
            projection = EmbeddingProjection(config.base.hidden_size, config.projection)
            tower = _prefixed("projection", projection.state_dict())
        passages = passage_head(config)
    reader = {
        **_prefixed("qa_outputs", spans.state_dict()),
        **_prefixed("predictions", words.state_dict()),
        **_prefixed("passage_scores", passages.state_dict() if passages is not None else {}),
    }
    return {"tower": tower, "reader": reader}


def _for_pooling(config: ModelConfig, backbone: Weights) -> Weights:
    return backbone if config.pooling == "pooler" else _without_pooler(backbone)


def _without_pooler(backbone: Weights) -> Weights:
    return {k: v for k, v in backbone.items() if not k.startswith("backbone.pooler.")}


def _prefixed(prefix: str, weights: Mapping[str, Tensor]) -> Weights:
    return {f"{prefix}.{name}": tensor for name, tensor in weights.items()}

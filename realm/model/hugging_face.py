"""Imports transformers' REALM checkpoints as a `Model`, and exports a model's parts as such.

The folders written are for transformers up to 4.46, the last with REALM.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tokenizers import Tokenizer

from realm.errors import Corrupt, InvalidInput, Unsupported
from realm.model.base import WEIGHT_FILES, Base, find_folder, load_extractive_reader, read_json
from realm.model.checkpoint import Model, build_reader, build_retriever, new_model, with_reader
from realm.model.config import ModelConfig
from realm.model.hugging_face_checkpoint import CONFIG_FILE, Checkpoint, read_checkpoint
from realm.model.hugging_face_format import (
    PREFIXES,
    TRAINING_ONLY,
    Kind,
    Part,
    check_exportable,
    config_to,
    filler_weights,
    to_transformers_names,
)
from realm.model.weights import Weights, write_weights


def import_model(
    source: str | Path,
    *,
    query: str | Path | None = None,
    reader: str | Path | None = None,
    mlm: str | Path | None = None,
    tokenizer: Tokenizer | None = None,
    no_answer: bool = False,
    seed: int = 0,
) -> Model:
    """A model from REALM checkpoints of transformers: `source` is an embedder, scorer or openqa.

    `query` gives a query tower of its own, `reader` (reader or openqa) the reader's backbone and
    span head, `mlm` (encoder) the masked-LM head. The model has one backbone for both heads: the
    reader's, or the encoder's if no reader gives one. Missing heads begin fresh, by `seed`.

    A `reader` may also be an extractive QA checkpoint of BERT's type, and `source` a base of that
    type then; `no_answer` says that such a reader was trained on questions without an answer.

    The embedder of a released openqa was trained as a query encoder, against vectors of the
    pre-trained embedder: name that one as `source` and the openqa as `query` to have both.

    :raises InvalidInput: if a checkpoint is of the wrong kind for its place.
    :raises Unsupported: if the checkpoints' shapes differ; else as `read_checkpoint`.
    :raises Corrupt: if there is no tokenizer, or it has more words than the model.
    """
    if reader and _is_bert(reader):
        if not _is_bert(source):
            model = import_model(source, query=query, mlm=mlm, tokenizer=tokenizer, seed=seed)
        elif query or mlm:
            raise InvalidInput(f"{source} is a BERT-type base: it takes no query tower and no mlm")
        else:
            model = new_model(source, starter=False, seed=seed)
        return with_reader(model, load_extractive_reader(reader), no_answer=no_answer, seed=seed)
    main = _read(source, "passage", "an embedder, scorer or openqa")
    other_query = (
        _read(query, "passage", "the query tower as embedder or openqa") if query else None
    )
    other_reader = _read(reader, "reader", "a reader or openqa", "encoder") if reader else None
    other_mlm = _read(mlm, "reader", "an encoder for masked words", "reader") if mlm else None
    others = [one for one in (other_query, other_reader, other_mlm) if one is not None]
    for other in others:
        _check_same_shape(main, other)
    config = main.config
    if other_query:
        config = dataclasses.replace(config, shared_towers=False)
    if other_reader:
        config = _with_reader_config(config, other_reader.config)
    given = (one.tokenizer for one in (main, *others) if one.tokenizer is not None)
    words = _checked_tokenizer(tokenizer or next(given, None), config, main.origin)
    passage = main.parts["passage"]
    towers = (other_query or main).parts
    start = new_model(Base(config, _backbone(passage), {}, words), seed=seed)
    reading = _reader_weights(main, other_reader, other_mlm)
    return dataclasses.replace(
        start,
        retriever=build_retriever(config, towers.get("query", towers["passage"]), passage),
        reader=build_reader(config, {**start.reader.state_dict(), **reading}),
    )


def export_model(folder: Path, model: Model, kind: Kind) -> None:
    """Writes config, weights and tokenizer as transformers' class of this kind reads them.

    A score there has no scale: s goes into the towers' last LayerNorm, √s into each, so that
    ⟨Embed(x), Embed(z)⟩ is our f(x, z). With s = 1 import gives the same model, bit for bit.

    :raises Unsupported: naming what transformers' class cannot compute.
    """
    check_exportable(model.config, kind)
    weights: Weights = {}
    for part, prefix in PREFIXES[kind].items():
        named = to_transformers_names(part, _weights_to_export(model, part, kind))
        named |= filler_weights(part, named)
        # Clones: tied weights would be one tensor under two names, which safetensors refuses.
        weights |= {prefix + name: tensor.detach().clone() for name, tensor in named.items()}
    if kind in ("embedder", "scorer"):
        config = dataclasses.replace(model.config, scale_init=1.0)
    else:
        config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config_to(config, kind), indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    # transformers refuses safetensors that do not say which library wrote them.
    write_weights(folder / WEIGHT_FILES[0], weights, {"format": "pt"})
    _write_tokenizer(folder, model.inputs.tokenizer)


def _is_bert(source: str | Path) -> bool:
    values = read_json(find_folder(source) / CONFIG_FILE)
    return isinstance(values, dict) and values.get("model_type") == "bert"


def _read(source: str | Path, part: Part, wanted: str, but: Kind | None = None) -> Checkpoint:
    checkpoint = read_checkpoint(source)
    if part not in checkpoint.parts or checkpoint.kind == but:
        raise InvalidInput(f"{source} is a REALM {checkpoint.kind}: give {wanted}")
    return checkpoint


def _check_same_shape(main: Checkpoint, other: Checkpoint) -> None:
    mine, its = dataclasses.asdict(main.config.base), dataclasses.asdict(other.config.base)
    differing = [k for k in mine if mine[k] != its[k] and k not in TRAINING_ONLY]
    if differing:
        told = ", ".join(f"{k} {mine[k]} and {its[k]}" for k in differing)
        raise Unsupported(f"{main.origin} and {other.origin} cannot make one model: {told}")


def _with_reader_config(config: ModelConfig, reader: ModelConfig) -> ModelConfig:
    lengths = dataclasses.replace(
        config.lengths, query=reader.lengths.query, reader=reader.lengths.reader
    )
    return dataclasses.replace(
        config,
        lengths=lengths,
        span_hidden_size=reader.span_hidden_size,
        max_span_width=reader.max_span_width,
    )


def _checked_tokenizer(tokenizer: Tokenizer | None, config: ModelConfig, origin: str) -> Tokenizer:
    if tokenizer is None:
        raise Corrupt(f"{origin} has no tokenizer: name a folder with one (--tokenizer)")
    words = tokenizer.get_vocab_size()
    if words > config.base.vocab_size:
        raise Corrupt(
            f"the tokenizer does not match {origin}: it has {words} words, the model knows"
            f" {config.base.vocab_size}"
        )
    return tokenizer


def _backbone(tower: Weights) -> Weights:
    start = "backbone."
    return {k.removeprefix(start): v for k, v in tower.items() if k.startswith(start)}


def _reader_weights(main: Checkpoint, reader: Checkpoint | None, mlm: Checkpoint | None) -> Weights:
    """What the checkpoints give the reader; nothing if all are towers."""
    words = mlm.parts["reader"] if mlm else {}
    whole = (reader or main).parts.get("reader", words)
    return whole | {k: v for k, v in words.items() if k.startswith("predictions.")}


def _weights_to_export(model: Model, part: Part, kind: Kind) -> Weights:
    """The part's weights by our names, as this kind of checkpoint has them."""
    if part == "reader":
        state = model.reader.state_dict()
        unused = ("qa_outputs.", "passage_scores.") if kind == "encoder" else ("passage_scores.",)
        return {name: tensor for name, tensor in state.items() if not name.startswith(unused)}
    retriever = model.retriever
    tower = dict((retriever.query if part == "query" else retriever.passage).state_dict())
    if retriever.log_scale.item() != 0:
        root = (0.5 * retriever.log_scale.detach()).exp()
        for name in ("projection.LayerNorm.weight", "projection.LayerNorm.bias"):
            tower[name] = root * tower[name]
    return tower


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Names its normaliser's settings: transformers would put its own defaults in their place."""
    described = tokenizer.to_str()
    (folder / "tokenizer.json").write_text(described, encoding="utf-8")
    normaliser = json.loads(described).get("normalizer") or {}
    told = {
        "do_lower_case": normaliser.get("lowercase", True),
        "strip_accents": normaliser.get("strip_accents"),
        "tokenize_chinese_chars": normaliser.get("handle_chinese_chars", True),
        "tokenizer_class": "RealmTokenizer",
    }
    text = json.dumps(told, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")

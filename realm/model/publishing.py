"""Loads the model that the settings name, and publishes models as snapshots.

The indexer treats a published base like any snapshot: it cuts passages for its tokenizer, builds
a collection of its vector size and compares it at the gate.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import torch

from realm.errors import BadSettings, Corrupt
from realm.model.base import find_weights, load_base
from realm.model.checkpoint import (
    CONFIG_FILE,
    PASSAGE_ENCODER_FILE,
    Model,
    load_model,
    new_model,
    with_own_query_encoder,
    write_model,
)
from realm.model.config import ModelConfig, Projection
from realm.model.cross_encoder import load_cross_encoder
from realm.model.inputs import MIN_BODY_TOKENS, InputBuilder, InputLimits, Prompts
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import file_sha256
from realm.settings import Settings

_log = structlog.get_logger(__name__)


def load_source(source: str | Path, settings: Settings) -> Model:
    """The model in a model folder, or a new model from a base, as a trainer begins with.

    A base is the folder or hub name of a Hugging Face encoder or of sentence-transformers; an
    empty `source` is the packaged base. A model folder keeps its own lengths; a base gets those of
    the settings, cut where it has fewer positions.

    :raises NotFound, Corrupt, Unsupported, DependencyUnavailable: as `load_base` and `load_model`.
    :raises BadSettings: if the base has too few positions for any passage, or lacks what the
        settings ask for.
    """
    if _is_model_folder(source):
        return load_model(Path(source))
    base = load_base(source or None)
    if settings.model.pooling == "pooler" and "pooler.dense.weight" not in base.backbone:
        raise BadSettings(
            f"REALM_POOLING=pooler: the base {base.config.base_name} has no pooler; it can be"
            " pooled by mean or cls"
        )
    shape: dict[str, Any] = {
        "pooling": settings.model.pooling or base.config.pooling,
        "projection": Projection(settings.model.projection)
        if settings.model.projection
        else base.config.projection,
        "vector_size": settings.model.vector_size,
        "scale_init": settings.model.scale or base.config.scale_init,
        "marginal": settings.model.marginal or base.config.marginal,
        "passage_scores": settings.model.passage_scores,
        "shared_towers": settings.model.towers != "two",
        "prompts": Prompts(
            settings.model.query_prompt or base.config.prompts.query,
            settings.model.passage_prompt or base.config.prompts.passage,
        ),
    }
    made = new_model(
        base,
        seed=settings.trainer.seed,
        starter=settings.model.starter,
        reader=settings.model.reader_model or None,
        lengths=effective_lengths(base.config, settings),
        candidates=settings.model.candidates,
        **shape,
    )
    if not (name := settings.model.cross_encoder):
        return made
    return dataclasses.replace(made, cross_encoder=load_cross_encoder(name))


def with_settings(model: Model, settings: Settings) -> Model:
    """The model with the settings' lengths, k, marginal and towers, ready to train."""
    model = with_tower_settings(model, settings)
    config = dataclasses.replace(
        model.config,
        lengths=effective_lengths(model.config, settings),
        candidates=settings.model.candidates,
    )
    inputs = InputBuilder(model.inputs.tokenizer, config.lengths, config.prompts, config.scripts)
    return dataclasses.replace(model, config=config, inputs=inputs)


def with_tower_settings(model: Model, settings: Settings) -> Model:
    """The model with the settings' marginal, and with two towers if they ask for them.

    Pooling and projection cannot change after a model begins, and two towers never become one: a
    setting that differs is logged as ineffective.
    """
    config = model.config
    size = config.projection.size if config.projection else 0
    fixed = (
        ("REALM_POOLING", settings.model.pooling, config.pooling),
        ("REALM_PROJECTION", settings.model.projection, size),
        ("REALM_TOWERS", settings.model.towers, "shared" if config.shared_towers else "two"),
    )
    for name, wanted, own in fixed:
        if wanted and wanted not in (own, "two"):
            _log.warning("setting_without_effect", setting=name, wanted=wanted, has=own)
    if settings.model.towers == "two":
        model = with_own_query_encoder(model)
    marginal = settings.model.marginal or config.marginal
    return dataclasses.replace(model, config=dataclasses.replace(model.config, marginal=marginal))


def source_digest(source: str | Path) -> str:
    """sha256 of the weights that `load_source` would begin with.

    :raises NotFound, Corrupt, DependencyUnavailable: as `load_source`.
    """
    if _is_model_folder(source):
        return file_sha256(Path(source) / PASSAGE_ENCODER_FILE)
    return file_sha256(find_weights(source or None))


def publish_model(
    snapshots: Snapshots,
    model: Model,
    *,
    step: int = 0,
    parent: int | None = None,
    metrics: dict[str, float] | None = None,
    unless: Callable[[int], bool] = lambda number: False,
) -> Snapshot:
    """The model becomes the newest snapshot, once all its files are in the store.

    :param parent: number of the snapshot that it was trained from.
    :param unless: as `Snapshots.publish` has it.
    :raises Corrupt: if a parameter is NaN or infinite.
    :raises Conflict: if `unless` says so.
    """
    if name := non_finite_parameter(model):
        raise Corrupt(f"the parameter {name} is not finite: nothing is published")
    with tempfile.TemporaryDirectory(prefix="realm-snapshot-") as folder:
        write_model(Path(folder), model)
        return snapshots.publish(
            Path(folder),
            step=step,
            fingerprint=model.inputs.fingerprint,
            vector_size=model.config.embedding_size,
            parent=parent,
            metrics=metrics,
            unless=unless,
        )


def non_finite_parameter(model: Model) -> str | None:
    """The name of a parameter that is NaN or infinite, if there is one."""
    others = [] if model.cross_encoder is None else [model.cross_encoder.model]
    for part in (model.retriever, model.reader, *others):
        for name, parameter in part.named_parameters():
            if not torch.isfinite(parameter).all():
                return name
    return None


def effective_lengths(config: ModelConfig, settings: Settings) -> InputLimits:
    """The settings' lengths, cut where the model has fewer positions.

    :raises BadSettings: if it has too few for any passage.
    """
    positions = config.base.max_position_embeddings
    passage = min(settings.model.passage_tokens, positions)
    reader = min(settings.model.reader_tokens, config.reader_shape.max_position_embeddings)
    lengths = InputLimits(
        passage=passage,
        title=min(config.lengths.title, passage - 3 - MIN_BODY_TOKENS),
        query=min(settings.model.query_tokens, positions, reader - 1 - MIN_BODY_TOKENS),
        reader=reader,
    )
    if lengths.title < 0 or lengths.query < 1:
        raise BadSettings(
            f"the base {config.base_name} has {positions} positions: too few for a passage"
        )
    return lengths


def _is_model_folder(source: str | Path) -> bool:
    folder = Path(source)
    files = (CONFIG_FILE, PASSAGE_ENCODER_FILE)
    return bool(str(source)) and all((folder / name).is_file() for name in files)

"""Where training begins: a checkpoint, else the newest snapshot, else the base."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from realm.model.base import Base, load_base
from realm.model.checkpoint import CONFIG_FILE, Model, load_config, load_model, new_model
from realm.model.inputs import InputBuilder, InputLimits
from realm.settings import Settings
from realm.snapshots import Snapshot, Snapshots
from services.trainer.checkpoints import Checkpoint, Checkpoints

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The model to go on with. `unpublished`: the store has no snapshot that indexes alike."""

    model: Model
    step: int
    checkpoint: Checkpoint | None
    unpublished: bool


def find_origin(settings: Settings, checkpoints: Checkpoints, snapshots: Snapshots) -> Origin:
    """Another base than that of the newest snapshot begins anew, at step 0.

    :raises RealmError: if the base cannot be had, or the newest snapshot is damaged.
    """
    base = load_base(settings.base_model or None)
    newest = snapshots.newest()
    if newest is None or not _is_from(base, newest, snapshots):
        model = new_model(
            base,
            seed=settings.seed,
            starter=settings.starter,
            reader=settings.reader_model or None,
            lengths=_lengths(settings, base.config.lengths),
            candidates=settings.candidates,
        )
        _log.info("begins_with_base", base=base.config.base_name)
        return Origin(model, 0, None, unpublished=True)
    checkpoint = checkpoints.newest() if settings.train else None
    if checkpoint and checkpoint.model.config.base_sha256 == base.config.base_sha256:
        model, step = checkpoint.model, checkpoint.step
        _log.info("resumes", step=step)
    else:
        checkpoint = None
        model, step = load_model(snapshots.materialise(newest)), newest.step
        _log.info("begins_with_snapshot", snapshot=newest.number, step=step)
    model = _with_settings(model, settings)
    return Origin(model, step, checkpoint, newest.fingerprint != model.inputs.fingerprint)


def _is_from(base: Base, snapshot: Snapshot, snapshots: Snapshots) -> bool:
    config = load_config(snapshots.materialise(snapshot, (CONFIG_FILE,)))
    return config.base_sha256 == base.config.base_sha256


def _with_settings(model: Model, settings: Settings) -> Model:
    """Lengths and k are no weights: the settings in force decide."""
    lengths = _lengths(settings, model.config.lengths)
    config = replace(model.config, lengths=lengths, candidates=settings.candidates)
    inputs = InputBuilder(model.inputs.tokenizer, lengths)
    return Model(config, inputs, model.retriever, model.reader)


def _lengths(settings: Settings, known: InputLimits) -> InputLimits:
    return InputLimits(
        passage=settings.passage_tokens,
        title=known.title,
        query=settings.query_tokens,
        reader=settings.reader_tokens,
    )

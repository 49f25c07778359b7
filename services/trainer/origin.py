"""Where training begins: a checkpoint, a snapshot published since, or what REALM_BASE_MODEL names.

REALM_BASE_MODEL is what the first training of a store begins with, and when it has changed since
training began, what training begins with anew. Else the newest snapshot is gone on from, whoever
published it and whatever its base: by the checkpoint if the snapshot comes of the same training.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from realm.errors import NotFound
from realm.model.checkpoint import CONFIG_FILE, Model, load_config, load_model
from realm.model.publishing import load_source, source_digest, with_settings
from realm.records.snapshots import Snapshot, Snapshots
from realm.settings import Settings
from services.trainer.checkpoints import Checkpoint, Checkpoints

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The model to go on with. `unpublished`: the store has no snapshot that indexes alike;
    `anew`: it comes of no snapshot at all. `source` is the digest of what REALM_BASE_MODEL names.
    """

    model: Model
    step: int
    checkpoint: Checkpoint | None
    unpublished: bool
    source: str = ""
    anew: bool = False


def find_origin(settings: Settings, checkpoints: Checkpoints, snapshots: Snapshots) -> Origin:
    """:raises RealmError: if the base cannot be had, or the newest snapshot is damaged."""
    source, newest = source_digest(settings.model.base_model), snapshots.newest()
    if newest is None or checkpoints.source() not in (None, source):
        model = with_settings(load_source(settings.model.base_model, settings), settings)
        _log.info("begins_with_base", base=model.config.base_name)
        return Origin(model, 0, None, unpublished=True, source=source, anew=True)
    checkpoint = checkpoints.newest() if settings.trainer.train else None
    if checkpoint and _comes_of(newest, checkpoint, snapshots):
        model, step = checkpoint.model, checkpoint.step
        _log.info("resumes", step=step)
    else:
        checkpoint = None
        model, step = load_model(snapshots.materialise(newest)), newest.step
        _log.info("begins_with_snapshot", snapshot=newest.number, step=step)
    model = with_settings(model, settings)
    return Origin(model, step, checkpoint, newest.fingerprint != model.inputs.fingerprint, source)


def _comes_of(newest: Snapshot, checkpoint: Checkpoint, snapshots: Snapshots) -> bool:
    """Whether the training of the checkpoint published the newest snapshot, or began with it."""
    known: int | None = checkpoint.state.get("snapshot")
    if known is None:  # of an older release
        config = load_config(snapshots.materialise(newest, (CONFIG_FILE,)))
        return config.base_sha256 == checkpoint.model.config.base_sha256
    while newest.number > known:
        if newest.parent is None:
            return False
        parent = newest.parent
        try:
            newest = snapshots.get(parent)
        except NotFound:  # tidied away, with what came of it still there
            return parent >= known
    return newest.number == known
